"""glesam-eval: checkpoints, bundles and baselines in one table, from the same prompts.

The model is the shipped one, as a checkpoint and as a bundle; both are fp32 where they are compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_runs import SHIPPED_BUNDLE, evaluated, rows_of, values, write_data
from PIL import Image

from glesam.cli.evaluate import closing_line
from glesam.evaluation import cases
from glesam.evaluation.contact_sheet import Section, contact_sheet
from glesam.evaluation.metrics import METRICS, MULTIMASK_METRICS
from glesam.evaluation.prompts import ObjectPrompt
from glesam.evaluation.remembered import LastAnswer
from glesam.evaluation.sources import Source, SourceSpec, methods_of, parse_source, remembering
from glesam.model import shipped_checkpoint
from glesam_runtime import Engines, Predictor, Prompt
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines.base import Array, Engine, Tensors
from glesam_runtime.engines.function import FunctionEngine
from glesam_runtime.errors import BackendError

FILES = ["contact_sheet.png", "prompts.json", "results.csv", "table.md"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("evaluation") / "data")


@pytest.fixture(scope="module")
def both(data: Path, nano_fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one model's checkpoint and bundle, and of both baselines."""
    out = tmp_path_factory.mktemp("runs") / "both"
    sources = "--checkpoint", f"torch={shipped_checkpoint()}", "--bundle", f"onnx={nano_fp32}"
    result = evaluated(data, out, *sources, "--levels", "clean,LQ-3", "--methods", "box,grabcut,sam,glesam")
    (out.parent / "stdout").write_text(result.stdout)
    return out


def test_a_checkpoint_and_its_bundle_agree_in_one_table(both: Path) -> None:
    """What fp16 costs a mask is for the gate of glesam-export to judge."""
    rows = rows_of(both)
    for method in ("sam", "glesam"):
        for metric in (*METRICS, *MULTIMASK_METRICS):
            torch = values(rows, metric, source="torch", method=method)
            onnx = values(rows, metric, source="onnx", method=method)
            assert len(torch) == 2 * 3 * 2
            assert np.abs(np.subtract(torch, onnx)).max() < 0.005
    with_gle, without = (values(rows, "iou", source="torch", method=name) for name in ("glesam", "sam"))
    assert with_gle != without


def test_the_best_of_three_is_never_worse_than_the_chosen_one(both: Path) -> None:
    rows = rows_of(both)
    for method in ("sam", "glesam"):
        best, chosen = (values(rows, metric, source="onnx", method=method) for metric in MULTIMASK_METRICS)
        assert all(a >= b for a, b in zip(best, chosen, strict=True))
    baselines = [row for row in rows if not row["source"]]
    assert {row[metric] for row in baselines for metric in MULTIMASK_METRICS} == {""}


def test_every_picture_level_and_row_has_a_line(both: Path) -> None:
    rows = rows_of(both)
    lines = [(row["dataset"], row["picture"], row["level"], row["source"], row["method"]) for row in rows]
    methods = [("", "box"), ("", "grabcut"), *((s, m) for s in ("torch", "onnx") for m in ("sam", "glesam"))]
    assert lines == [
        (dataset, picture, level, *method)
        for dataset in ("squares", "bars")
        for picture in "012"
        for level in ("clean", "3")
        for method in methods
    ]
    assert {(row["prompt"], row["objects"]) for row in rows} == {("box", "2")}


def test_a_run_leaves_four_whole_files_and_shows_its_tables(both: Path) -> None:
    assert sorted(path.name for path in both.iterdir()) == FILES
    table, shown = (both / "table.md").read_text(), (both.parent / "stdout").read_text()
    assert table.startswith("# 6 pictures, 12 objects, box prompts, seed 0\n")
    assert "| IoU, all sets, 6 pictures | clean | LQ-3 |" in table
    assert "| boundary IoU, bars, 3 pictures | clean | LQ-3 |" in table
    assert "| gain of torch: glesam over sam |" in table
    best = table.split("| IoU of the best of three masks (oracle), all sets, 6 pictures | clean | LQ-3 |")[1]
    assert "| grabcut | - | - |" in best.split("\n\n")[0]
    assert f"- torch: checkpoint {shipped_checkpoint()}, sha256 " in table
    assert "| IoU, bars, 3 pictures | clean | LQ-3 |" in shown
    assert f"next: xdg-open {both / 'contact_sheet.png'}" in shown.splitlines()[-1]


def test_the_tables_figures_are_the_means_of_the_csv(both: Path) -> None:
    mean = np.mean(values(rows_of(both), "dice", method="grabcut", level="3", dataset="bars"))
    table = (both / "table.md").read_text().split("| Dice, bars, ")[1]
    (line,) = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("| grabcut |")]
    assert line.split("|")[3].strip() == f"{mean:.4f}"


def test_threads_change_nothing_of_the_results(
    data: Path, both: Path, nano_fp32: Path, tmp_path: Path
) -> None:
    out = tmp_path / "threads"
    options = "--bundle", f"onnx={nano_fp32}", "--levels", "clean,3", "--methods", "grabcut,sam,glesam"
    evaluated(data, out, *options, "--jobs", 3)
    kept = [row for row in rows_of(both) if row["source"] != "torch" and row["method"] != "box"]
    assert rows_of(out) == kept


def test_rows_of_an_earlier_run_join_the_table(data: Path, both: Path, tmp_path: Path) -> None:
    """The joined run may have more prompts and levels; a second evaluation of both gives the same rows."""
    prompts = json.loads((both / "prompts.json").read_text())
    prompts["pictures"] = prompts["pictures"][1:]
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(prompts))
    out = tmp_path / "joined"
    earlier = tmp_path / "earlier"
    evaluated(data, earlier, "--prompts", both / "prompts.json", "--methods", "grabcut", "--levels", "1,3")
    evaluated(data, out, "--prompts", fewer, "--methods", "box", "--levels", "3", "--join", earlier)
    rows = rows_of(out)
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["grabcut", "box"]
    assert len(rows) == 2 * 5
    again = [row for row in rows_of(both) if row["level"] == "3" and row["method"] == "grabcut"]
    assert [row for row in rows if row["method"] == "grabcut"] == again[1:]
    assert "| grabcut |" in (out / "table.md").read_text()


def test_a_prompt_file_is_written_once_and_decides_from_then_on(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "new/dev.prompts.json"
    box = "--methods", "box", "--levels", "clean", "--prompts", file
    evaluated(data, tmp_path / "a", *box, "--per-set", 1, "--max-objects", 1, "--seed", 3)
    written = file.read_bytes()
    evaluated(data, tmp_path / "b", *box)
    assert file.read_bytes() == written == (tmp_path / "b/prompts.json").read_bytes()
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert [row["objects"] for row in rows_of(tmp_path / "b")] == ["1", "1"]


def test_points_give_other_masks_than_boxes(data: Path, both: Path, nano_fp32: Path, tmp_path: Path) -> None:
    out = tmp_path / "points"
    options = "--prompts", both / "prompts.json", "--levels", "clean", "--prompt", "points"
    evaluated(data, out, "--bundle", f"onnx={nano_fp32}", *options)
    rows = rows_of(out)
    assert {row["prompt"] for row in rows} == {"points"}
    boxes = values(rows_of(both), "iou", source="onnx", method="sam", level="clean")
    assert values(rows, "iou", source="onnx", method="sam") != boxes


def test_the_innermost_point_is_one_prompt_for_each_object(data: Path, both: Path, tmp_path: Path) -> None:
    """The shipped nano's masks from it are its own: neither those of boxes nor those of three points."""
    kept = json.loads((both / "prompts.json").read_text())
    first = kept["pictures"][0]["objects"]
    assert [one["innermost"] for one in first] == [
        [19, 49],
        [19, 17],
    ]  # 10 and 12 px from an edge, the first of these
    options = "--bundle", f"onnx={SHIPPED_BUNDLE}", "--levels", "clean", "--methods", "sam"
    for kind in ("innermost", "points"):
        evaluated(data, tmp_path / kind, *options, "--prompts", both / "prompts.json", "--prompt", kind)
    innermost, points = (rows_of(tmp_path / kind) for kind in ("innermost", "points"))
    assert {row["prompt"] for row in innermost} == {"innermost"}
    assert values(innermost, "iou") != values(points, "iou")
    assert "objects, innermost prompts, seed 0\n" in (tmp_path / "innermost/table.md").read_text()


def test_prompts_and_results_of_the_older_format_are_read_and_joined(
    data: Path, both: Path, tmp_path: Path
) -> None:
    old = json.loads((both / "prompts.json").read_text())
    old["format_version"] = 1
    for one in (one for picture in old["pictures"] for one in picture["objects"]):
        del one["innermost"]
    earlier = tmp_path / "earlier"
    evaluated(data, earlier, "--prompts", both / "prompts.json", "--methods", "box", "--levels", "clean")
    results = (earlier / "results.csv").read_text().splitlines()
    (earlier / "results.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in results))
    for file in (earlier / "prompts.json", tmp_path / "old.json"):
        file.write_text(json.dumps(old))
    before = (tmp_path / "old.json").read_bytes()
    options = "--levels", "clean", "--methods", "grabcut", "--join", earlier
    evaluated(data, tmp_path / "out", "--prompts", tmp_path / "old.json", *options)
    assert list(dict.fromkeys(row["method"] for row in rows_of(tmp_path / "out"))) == ["box", "grabcut"]
    assert (tmp_path / "old.json").read_bytes() == before
    assert (tmp_path / "out/prompts.json").read_bytes() == (both / "prompts.json").read_bytes()


def test_real_low_quality_photographs_have_a_column_apart(data: Path, tmp_path: Path) -> None:
    sea = write_data(tmp_path / "sea", pictures=2)
    (sea / "squares").rename(sea / "murky")
    (sea / "sets.json").write_text(json.dumps([{"name": "murky", "kind": "label_maps"}]))
    out = tmp_path / "out"
    evaluated(data, out, "--real", sea, "--methods", "box", "--levels", "clean,3")
    rows = rows_of(out)
    assert [row["level"] for row in rows if row["dataset"] == "murky"] == ["real", "real"]
    assert {row["level"] for row in rows if row["dataset"] != "murky"} == {"clean", "3"}
    assert "| IoU, all sets, 6 pictures | clean | LQ-3 | real LQ (2) |" in (out / "table.md").read_text()


def test_the_contact_sheet_shows_the_chosen_cases(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Section] = []

    def spied(sections: list[Section]) -> Image.Image:
        seen.extend(sections)
        return contact_sheet(sections)

    monkeypatch.setattr(cases, "contact_sheet", spied)
    out = tmp_path / "out"
    evaluated(data, out, "--methods", "box,grabcut", "--levels", "clean,3")
    (section,) = seen
    assert section.title == "LQ-3: worst, median and best of 6 pictures by IoU of grabcut"
    scores = {
        f"{row['dataset']}/{row['picture']}": float(row["iou"])
        for row in rows_of(out)
        if (row["method"], row["level"]) == ("grabcut", "3")
    }
    worst = [row for row in section.rows if row[0].caption.startswith("worst: ")]
    shown = [row[0].caption.removeprefix("worst: ") for row in worst]
    assert [scores[name] for name in shown] == sorted(scores.values())[:3]
    assert worst[0][-1].caption == f"grabcut, IoU {min(scores.values()):.3f}"
    assert [tile.caption.split(",")[0] for tile in worst[0][1:]] == ["truth", "box", "grabcut"]
    with Image.open(out / "contact_sheet.png") as picture:
        assert picture.width > 4 * 320


def test_a_broken_picture_is_named_and_left_out_for_all(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "bars/1.jpg").write_bytes(b"no picture")
    result = evaluated(data, tmp_path / "out", "--methods", "box", "--levels", "clean")
    assert "skipped bars/1: " in result.stderr
    assert "- Skipped, so in no row: bars/1." in (tmp_path / "out/table.md").read_text()
    assert len(rows_of(tmp_path / "out")) == 5


def test_the_shipped_bundle_is_evaluated_without_torch(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from glesam.cli.evaluate import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'torch', 'onnx', 'diffusers'} & set(sys.modules)\n"
    )
    options = ["--per-set", "1", "--levels", "clean", "--data", str(data), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [(row["source"], row["method"]) for row in rows_of(tmp_path / "out")] == [
        ("nano fp16", "sam"),
        ("nano fp16", "glesam"),
    ] * 2


def test_a_source_may_have_a_name_and_methods(tmp_path: Path) -> None:
    odd = tmp_path / "a=b:sam"
    odd.mkdir()
    (tmp_path / "runs:1").mkdir()
    assert parse_source("bundle", "runs/a") == SourceSpec("bundle", "runs/a")
    assert parse_source("bundle", "GLE off=runs/a:sam") == SourceSpec("bundle", "runs/a", "GLE off", ("sam",))
    assert parse_source("bundle", "runs/a:glesam,sam").methods == ("glesam", "sam")
    assert parse_source("checkpoint", str(odd)) == SourceSpec("checkpoint", str(odd))
    named = parse_source("checkpoint", f"x={tmp_path / 'runs:1'}")
    assert named == SourceSpec("checkpoint", str(tmp_path / "runs:1"), "x")


def test_a_method_calls_each_graph_once_for_a_picture() -> None:
    """The candidates are the runtime's own multimask, and come from the call that gives the single masks."""
    calls: list[str] = []
    shipped = Predictor.from_bundle(backend="onnxruntime")

    def counted(engine: Engine) -> Engine:
        def infer(feeds: Tensors) -> dict[str, Array]:
            calls.append(engine.spec.name)
            return dict(engine(feeds))

        return FunctionEngine(engine.spec, infer)

    engines = shipped._engines
    assert engines.gle is not None
    spied = Engines(counted(engines.image_encoder), counted(engines.gle), counted(engines.mask_decoder))
    source = Source("nano", shipped.manifest, remembering(spied), "")
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    prompts = [ObjectPrompt(points=((30, 20),)), ObjectPrompt(box=(5, 6, 40, 41))]
    sam, glesam = (method(image, prompts) for method in methods_of(source, ["sam", "glesam"]))
    assert calls == ["image_encoder", "mask_decoder", "gle", "mask_decoder"]
    shipped.set_image(image)
    both = [Prompt(points=((30, 20),)), Prompt(box=(5, 6, 40, 41))]
    expected = shipped.predict(prompts=both, multimask=True)
    assert glesam.candidates is not None and sam.candidates is not None
    assert np.array_equal(glesam.candidates.masks, expected.masks)
    assert np.array_equal(glesam.candidates.iou_predictions, expected.iou_predictions)
    assert np.array_equal(glesam.masks, shipped.predict(prompts=both).masks)
    assert not np.array_equal(sam.candidates.masks, expected.masks)


def test_a_model_without_multimask_has_no_candidates() -> None:
    shipped = Predictor.from_bundle(backend="onnxruntime")
    single = replace(shipped.manifest, multimask=False)
    (method,) = methods_of(Source("nano", single, shipped._engines, ""), ["sam"])
    assert method(np.zeros((48, 64, 3), np.uint8), [ObjectPrompt(points=((30, 20),))]).candidates is None


def test_with_and_without_gle_share_one_run_of_the_encoder() -> None:
    spec = bundle_contract(64)["gle"]
    shape = (1, 256, 4, 4)
    calls: list[Tensors] = []

    def plus_one(feeds: Tensors) -> dict[str, Array]:
        calls.append(feeds)
        return {spec.outputs[0].name: feeds[spec.inputs[0].name] + 1}

    engine = LastAnswer(FunctionEngine(spec, plus_one))

    def ask(value: float) -> float:
        feeds = {spec.inputs[0].name: np.full(shape, value, np.float32)}
        return float(engine(feeds)[spec.outputs[0].name].flat[0])

    assert [ask(1), ask(1), ask(2), ask(1)] == [2, 2, 3, 2]
    assert len(calls) == 3
    other = threading.Thread(target=ask, args=(1,))
    other.start()
    other.join()
    assert len(calls) == 4


def test_the_next_command_has_its_path_in_quotes_where_a_shell_needs_them() -> None:
    line = closing_line({Path("my runs/results.csv"): 500, Path("my runs/sheet.png"): 1500})
    assert line == "wrote 2 files to my runs, 2.0 kB; next: xdg-open 'my runs/sheet.png'"


def test_an_input_that_is_left_out_is_refused_also_after_an_answer() -> None:
    spec = bundle_contract(64)["gle"]
    engine = LastAnswer(
        FunctionEngine(spec, lambda feeds: {spec.outputs[0].name: feeds[spec.inputs[0].name]})
    )
    engine({spec.inputs[0].name: np.zeros((1, 256, 4, 4), np.float32)})
    with pytest.raises(BackendError, match="expected image_embeddings, found none"):
        engine({})
