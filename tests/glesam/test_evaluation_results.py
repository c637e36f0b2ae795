"""Scores as CSV, means, gains, tables and a contact sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFont

from glesam.evaluation.cases import chosen_cases
from glesam.evaluation.contact_sheet import TILE_PX, Section, Tile, contact_sheet, fitted
from glesam.evaluation.gains import comparisons
from glesam.evaluation.metrics import METRICS, MULTIMASK_METRICS
from glesam.evaluation.results import COLUMNS, COLUMNS_BEFORE_MULTIMASK, Results, covering, from_csv, to_csv
from glesam.evaluation.score import RowName, Score
from glesam.evaluation.table import dataset_tables, footnotes, overall_tables, report
from glesam_runtime.errors import ResultsError

SAM, GLESAM = RowName("nano", "sam"), RowName("nano", "glesam")


def score(iou: float, row: RowName = SAM, level: str = "clean", name: str = "a", dataset: str = "x") -> Score:
    return Score(dataset, name, level, row, 2, 0, dict.fromkeys(METRICS, iou))


def with_multimask(one: Score, best: float, chosen: float) -> Score:
    return replace(one, metrics={**one.metrics, "best_of_three": best, "chosen": chosen})


GAIN = Results(
    tuple(
        score(iou, row, level, name)
        for (row, level), ious in {
            (SAM, "clean"): (0.7, 0.9),
            (SAM, "3"): (0.5, 0.7),
            (GLESAM, "clean"): (0.7, 0.8),
            (GLESAM, "3"): (0.55, 0.75),
        }.items()
        for name, iou in zip("ab", ious, strict=True)
    )
)


def test_csv_has_a_line_per_score_and_comes_back() -> None:
    scores = [score(0.25, level="real", name='comma, "quote"'), replace(score(0.5, GLESAM), fallbacks=1)]
    text = to_csv(scores, "points")
    assert text.splitlines()[0] == (
        "dataset,picture,prompt,level,source,method,objects,fallbacks,iou,dice,boundary_iou,pixel_accuracy,"
        "best_of_three,chosen"
    )
    assert text.splitlines()[2] == "x,a,points,clean,nano,glesam,2,1,0.500000,0.500000,0.500000,0.500000,,"
    assert from_csv(text, "points", "file") == scores


def test_multimask_has_its_columns_and_comes_back() -> None:
    scores = [with_multimask(score(0.5), 0.75, 0.25), score(0.5, RowName("", "box"))]
    text = to_csv(scores, "innermost")
    assert text.splitlines()[1].endswith(",0.500000,0.750000,0.250000")
    assert from_csv(text, "innermost", "file") == scores


def test_a_csv_from_before_the_columns_of_multimask_is_still_read() -> None:
    lines = to_csv([score(0.5)], "box").splitlines()
    cut = len(MULTIMASK_METRICS)
    older = "\n".join(line.rsplit(",", cut)[0] for line in lines)
    assert older.splitlines()[0] == ",".join(COLUMNS_BEFORE_MULTIMASK)
    assert from_csv(older, "box", "file") == [score(0.5)]


def test_a_line_that_ends_early_is_refused() -> None:
    text = to_csv([score(0.5)], "box").rstrip(",\n")
    with pytest.raises(ResultsError):
        from_csv(text, "box", "file")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clean", "clean,extra"),
        ("0.500000", "nan"),
        ("0.500000", "1.5"),
        (",box,", ",points,"),
        (",2,", ",two,"),
    ],
)
def test_a_damaged_csv_is_refused_by_name(old: str, new: str) -> None:
    text = to_csv([score(0.5)], "box").replace(old, new)
    with pytest.raises(
        ResultsError, match=r"^out/results\.csv: expected the results.csv of a glesam-eval run"
    ):
        from_csv(text, "box", "out/results.csv")


@pytest.mark.parametrize("text", ["", ",".join(COLUMNS[1:]), "a,b\n1,2\n"])
def test_another_table_is_refused(text: str) -> None:
    with pytest.raises(ResultsError):
        from_csv(text, "box", "file")


def test_joined_rows_must_cover_every_picture_and_level() -> None:
    scores = [score(0.5), score(0.6, level="3"), score(0.7, level="2"), score(0.5, GLESAM)]
    places = [("x", "a", "clean"), ("x", "a", "3")]
    assert covering(scores[:3], places, "file") == scores[:2]
    with pytest.raises(ResultsError, match="file: nano: glesam has no score for x/a at level 3"):
        covering(scores, places, "file")
    with pytest.raises(ResultsError, match="no row has no score for x/b"):
        covering(scores, [("x", "b", "clean")], "file")


def test_gle_is_credited_with_the_gap_it_closes() -> None:
    """Without GLE: .8 clean, .6 at LQ-3; with it: .75 and .65. It closes .05 of a gap of .2."""
    (pair,) = comparisons(GAIN.rows)
    assert str(pair) == "nano: glesam over sam"
    assert pair.gain(GAIN, "clean") == pytest.approx(-0.05)
    assert pair.gain(GAIN, "3") == pytest.approx(0.05)
    assert pair.closed(GAIN, "3") == pytest.approx(0.25)
    assert pair.closed(GAIN, "clean") is None


@pytest.mark.parametrize("degraded", [0.9, 0.795])
def test_there_is_no_gap_where_degradation_does_hardly_any_harm(degraded: float) -> None:
    """The clean pictures score .8."""
    kept = [one for one in GAIN.scores if one.level != "3"]
    harmless = Results((*kept, score(degraded, SAM, "3"), score(0.9, GLESAM, "3")))
    (pair,) = comparisons(harmless.rows)
    assert pair.closed(harmless, "3") is None


def test_there_is_no_gap_without_the_clean_pictures() -> None:
    degraded = Results(tuple(one for one in GAIN.scores if one.level == "3"))
    (pair,) = comparisons(degraded.rows)
    assert pair.closed(degraded, "3") is None
    assert [line[0] for line in overall_tables(degraded)[0].lines[2:]] == ["gain of nano: glesam over sam"]


def test_a_source_that_ran_sam_alone_is_the_baseline_of_all() -> None:
    off, a, b = RowName("off", "sam"), RowName("a", "glesam"), RowName("b", "glesam")
    pairs = comparisons([off, a, RowName("b", "sam"), b, RowName("", "box")])
    assert [str(pair) for pair in pairs] == ["a: glesam over off: sam", "b: glesam over off: sam"]


def test_nothing_is_compared_where_gle_was_never_off() -> None:
    assert comparisons([GLESAM, RowName("", "box")]) == []


def test_a_table_has_a_row_per_method_and_the_gains_below() -> None:
    assert overall_tables(GAIN)[0].markdown() == (
        "| IoU, x, 2 pictures | clean | LQ-3 |\n"
        "|---|---|---|\n"
        "| nano: sam | 0.8000 | 0.6000 |\n"
        "| nano: glesam | 0.7500 | 0.6500 |\n"
        "| gain of nano: glesam over sam | -0.0500 | +0.0500 |\n"
        "| gap closed by nano: glesam over sam |  | 25 % |\n"
    )


def test_the_interval_of_a_gain_is_paired_by_picture() -> None:
    """Pictures differ far more than their gains, whose mean is .05 with a standard error of .01."""
    rng = np.random.default_rng(3)
    plain, gains = rng.uniform(0.1, 0.8, 100), rng.normal(0, 1, 100)
    gains = 0.05 + 0.1 * (gains - gains.mean()) / gains.std()
    rows = [(GLESAM, np.clip(plain + gains, 0, 1), reversed(range(100))), (SAM, plain, range(100))]
    scores = [score(float(values[i]), row, name=f"{i:03}") for row, values, order in rows for i in order]
    (pair,) = comparisons([SAM, GLESAM])
    bounds = pair.interval(Results(tuple(scores)), "clean")
    assert bounds is not None
    assert bounds == pytest.approx((0.05 - 0.0196, 0.05 + 0.0196), abs=0.002)
    assert pair.interval(GAIN, "clean") is None
    table = overall_tables(Results(tuple(scores)))[0]
    assert table.lines[3][0] == "95 % of resampled pictures"
    assert table.lines[3][1] == f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"


def test_a_row_without_multimask_has_a_dash_in_its_tables() -> None:
    box = RowName("", "box")
    scores = [
        one
        for level in ("clean", "3")
        for one in (score(0.1, box, level), with_multimask(score(0.5, SAM, level), 0.75, 0.25))
    ]
    *others, best, chosen = overall_tables(Results(tuple(scores)))
    assert [table.title.split(",")[0] for table in others] == [
        "IoU",
        "Dice",
        "boundary IoU",
        "pixel accuracy",
    ]
    assert best.title == "IoU of the best of three masks (oracle), x, 1 picture"
    assert best.lines == (("box", "-", "-"), ("nano: sam", "0.7500", "0.7500"))
    assert chosen.lines == (("box", "-", "-"), ("nano: sam", "0.2500", "0.2500"))


def test_multimask_has_no_table_where_no_row_has_it() -> None:
    assert len(overall_tables(GAIN)) == len(METRICS)
    two = Results((*GAIN.scores, *(replace(one, dataset="y") for one in GAIN.scores)))
    assert dataset_tables(two, list(MULTIMASK_METRICS)) == []


def test_every_metric_has_a_column_per_level() -> None:
    scores = [with_multimask(one, 0.9, 0.8) for one in GAIN.scores]
    tables = overall_tables(Results(tuple(scores)))
    assert len(tables) == len(METRICS) + len(MULTIMASK_METRICS)
    assert {table.columns for table in tables} == {("clean", "LQ-3")}
    assert [table for table in tables if any(len(line) != 3 for line in table.lines)] == []


def test_real_low_quality_pictures_have_a_column_apart() -> None:
    real = [score(0.1, row, "real", name, "sea") for row in (SAM, GLESAM) for name in "cde"]
    both = Results((*GAIN.scores, *real))
    table = overall_tables(both)[0]
    assert (table.title, table.columns) == ("IoU, all sets, 2 pictures", ("clean", "LQ-3", "real LQ (3)"))
    assert table.lines[0] == ("nano: sam", "0.8000", "0.6000", "0.1000")
    assert table.lines[3][1:] == ("", "25 %", "")
    sea = dataset_tables(both, ["iou"])[1]
    assert (sea.title, sea.columns) == ("IoU, sea, 3 pictures", ("real LQ",))


def test_sets_have_tables_of_their_own_where_there_are_several() -> None:
    assert dataset_tables(GAIN, ["iou"]) == []
    two = Results((*GAIN.scores, *(replace(one, dataset="y") for one in GAIN.scores)))
    titles = [table.title for table in dataset_tables(two, ["iou", "dice"])]
    assert titles == [
        "IoU, x, 2 pictures",
        "Dice, x, 2 pictures",
        "IoU, y, 2 pictures",
        "Dice, y, 2 pictures",
    ]


def test_masks_that_are_not_a_methods_own_are_counted_in_a_footnote() -> None:
    grabcut = RowName("", "grabcut")
    scores = replace(score(0.5, grabcut), fallbacks=1), score(0.5, grabcut, "3")
    failed = Results((*scores, score(0.5, SAM), score(0.5, SAM, "3")))
    (line,) = footnotes(failed)
    assert line.startswith("grabcut failed on 1 of 4 masks (all levels)")
    assert f"- {line}\n" in report(failed, "title", ["made from b"])


def test_a_name_with_a_bar_keeps_the_table_whole() -> None:
    table = overall_tables(Results((score(0.5, RowName("a|b", "sam")),)))[0]
    assert "| a\\|b: sam | 0.5000 |" in table.markdown()


def test_cases_are_the_worst_median_and_best() -> None:
    scores = [score(i / 20, name=str(i)) for i in range(11)]
    cases = [(kind, one.name) for kind, one in chosen_cases(scores[::-1])]
    assert cases == [
        *(("worst", name) for name in "012"),
        *(("median", name) for name in "45"),
        *(("best", name) for name in ("10", "9")),
    ]


def test_few_pictures_are_shown_once_each() -> None:
    scores = [score(i / 20, name=str(i)) for i in range(4)]
    names = [one.name for _, one in chosen_cases(scores)]
    assert sorted(names) == list("0123")
    assert len(chosen_cases(scores[:1])) == 1


def test_a_sheet_is_as_wide_as_its_longest_row_and_wastes_no_height() -> None:
    flat, high = Image.new("RGB", (640, 100), "red"), Image.new("RGB", (100, 640), "blue")
    rows = [[Tile("a", flat)] * 3, [Tile("b", high)]]
    one = contact_sheet([Section("title", rows[:1])])
    both = contact_sheet([Section("title", rows[:1]), Section("title", rows)])
    assert one.width == both.width > 3 * TILE_PX
    assert one.height < 150
    assert both.height > 2 * one.height + TILE_PX
    assert both.getpixel((TILE_PX // 20, both.height - TILE_PX // 2)) == (0, 0, 255)


def test_a_long_caption_keeps_its_start_and_its_figure() -> None:
    font = ImageFont.load_default(14)
    text = f"a name {'that goes on ' * 20}, IoU 0.123"
    short = fitted(text, 200, font)
    assert font.getlength(short) <= 200
    assert short.startswith("a name")
    assert short.endswith("IoU 0.123")
    assert fitted("short", 200, font) == "short"
