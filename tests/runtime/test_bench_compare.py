"""glesam-bench --compare and --report: every backend takes its turn, and what is said of each is so."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle, Prediction, Predictor
from glesam_runtime.cli import bench
from glesam_runtime.cli.bench import app
from glesam_runtime.engines import ONNX_BACKENDS, open_engines
from glesam_runtime.errors import BackendError
from glesam_runtime.prompts import Prompt
from glesam_runtime.tools.bench import compare as compare_module
from glesam_runtime.tools.bench.compare import Contender, compare, contenders
from glesam_runtime.tools.bench.measure import Plan, synthetic_image
from glesam_runtime.tools.bench.report import PROMPTS_COLUMNS
from glesam_runtime.tools.verify import verify

SHORT = ("--rounds", 3, "--warmup", 1)
BOX = Prompt((10, 10, 200, 200))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def nano() -> Bundle:
    return Bundle.open()


@pytest.mark.parametrize("width", ["60", "80", ""])
def test_every_backend_here_is_compared_and_the_others_say_why(
    nano: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(bench, "usable_cores", lambda: 3)  # fewer than its CPUs where a core has several
    file = tmp_path / "all.json"
    result = run("--compare", *SHORT, "--out", file)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(file.read_text())
    found = {(each["backend"], each["threads"]) for each in document["contenders"]}
    assert found == {(name, count) for name in ONNX_BACKENDS for count in (1, 3)}
    assert set(document["absent"]) == {"tensorrt", "tensorrt-rtx", "onnxruntime:cuda", "openvino:gpu"}
    assert all(document["absent"].values())
    medians = [each["stages_ms"]["image to mask"]["p50"] for each in document["contenders"]]
    assert medians == sorted(medians)
    ratios = [each["ratio"] for each in document["contenders"]]
    assert ratios == pytest.approx([medians[-1] / each for each in medians], abs=1e-3)
    for contender in found:
        assert str(Contender(*contender)) in result.stdout
    assert all(f"{median:.1f}" in result.stdout for median in medians)
    assert "not here: tensorrt" in result.stdout and "…" not in result.stdout
    assert "mask IoU" in result.stdout and "worst IoU" in result.stdout


def test_the_accuracy_is_that_of_the_golden_vectors(nano: Bundle) -> None:
    comparison = compare(nano, synthetic_image(), BOX, [Contender("onnxruntime", 1)], Plan(0, 1, ()))
    (each,) = comparison.results
    sets = verify(nano, open_engines("onnxruntime", nano)).mask_iou.values()
    assert each.mask_iou.masks == sum(one.masks for one in sets)
    assert each.mask_iou.worst == min(one.worst for one in sets)
    assert each.mask_iou.mean == pytest.approx(sum(o.mean * o.masks for o in sets) / each.mask_iou.masks)


def test_they_take_turns_and_the_warm_up_does_not_count(
    nano: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []
    original = compare_module._Opened.run

    def noted(self: compare_module._Opened, *round_of: Any) -> None:  # noqa: ANN401
        turns.append(self.contender.backend)
        original(self, *round_of)

    monkeypatch.setattr(compare_module._Opened, "run", noted)
    chosen = [Contender(name, 1) for name in ONNX_BACKENDS]
    comparison = compare(nano, synthetic_image(), BOX, chosen, Plan(1, 2, prompts=(2,)))
    assert turns == [*ONNX_BACKENDS] * 3
    (calls,) = comparison.results[0].prompts
    for spread in (comparison.results[0].whole, calls.predict_ms):
        assert spread.p50 == pytest.approx(spread.mean, abs=1e-3)  # of two samples; a third would move it


def test_a_named_backend_is_compared_at_its_threads_alone(nano: Bundle) -> None:
    assert contenders("openvino", [1, 2]) == [Contender("openvino", 1), Contender("openvino", 2)]
    assert contenders("tensorrt", [1, 2]) == [Contender("tensorrt", 0)]
    with pytest.raises(BackendError, match=r"no backend runs this bundle here: abacus: .*unknown"):
        compare(nano, synthetic_image(), BOX, contenders("abacus", [1]), Plan(0, 1))


def compared(*arguments: object) -> dict[str, Any]:
    """The JSON of a comparison of one round."""
    result = run("--compare", "--rounds", 1, "--warmup", 0, "--json", *arguments)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_threads_are_those_of_every_contender_on_the_cpu() -> None:
    each = compared("--threads", 1)["contenders"]
    assert [(one["backend"], one["threads"]) for one in sorted(each, key=lambda one: one["backend"])] == [
        (name, 1) for name in sorted(ONNX_BACKENDS)
    ]


def test_prompts_are_timed_in_one_call_each_where_they_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts: list[int] = []
    original = Predictor.predict

    def noted(self: Predictor, **prompts: Any) -> Prediction:  # noqa: ANN401
        counts.append(len(prompts["prompts"]))
        return original(self, **prompts)

    monkeypatch.setattr(Predictor, "predict", noted)
    named = ("--backend", "onnxruntime", "--threads", 1)
    (plain,) = compared(*named)["contenders"]
    assert plain["prompts"] == []
    assert counts == [1]
    counts.clear()
    page = tmp_path / "page.html"
    (each,) = compared(*named, "--prompts", "5,2", "--report", page)["contenders"]
    assert counts == [1, 5, 2]
    assert [calls["prompts"] for calls in each["prompts"]] == [5, 2]
    for calls in each["prompts"]:
        assert 0 < calls["decode_ms"]["p50"] < calls["predict_ms"]["p50"]
        rate = 1000 * calls["prompts"] / calls["predict_ms"]["mean"]
        assert calls["prompts_per_s"] == pytest.approx(rate, abs=1e-3)
        assert f"{calls['predict_ms']['p50']:.1f}" in Reader(page.read_text()).words


def test_a_table_of_prompts_follows_that_of_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    named = ("--backend", "onnxruntime", "--threads", 1, "--prompts", "3", "--rounds", 1, "--warmup", 0)
    lines = run("--compare", *named).stdout.splitlines()
    title = lines.index("prompts in one call [ms]")
    assert title > lines.index("image to mask [ms]")
    assert lines[title + 1].split() == ["backend", *PROMPTS_COLUMNS]
    (row,) = (line for line in lines[title:] if line.startswith("onnxruntime, 1 thread"))
    assert row.split()[3] == "3"


@pytest.mark.parametrize("comparison", [("--compare",), ("--report", "page.html")])
@pytest.mark.parametrize("sessions", [("--sessions", "1,2"), ("--threads", "1,2")])
def test_sessions_have_no_use_in_a_comparison(comparison: tuple[str, ...], sessions: tuple[str, ...]) -> None:
    """--threads 1,2 is what --sessions was called."""
    result = run(*comparison, *sessions)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: --sessions 1,2: with --compare or --report each backend runs one session at a time; "
        "leave it out (--threads N sets the threads of the CPU)"
    )


@pytest.mark.parametrize("comparison", ["--compare", "--report=page.html"])
def test_a_malformed_list_of_prompts_is_refused_in_a_comparison_too(comparison: str) -> None:
    result = run(comparison, "--prompts", "1,many")
    assert result.exit_code == 2
    assert "--prompts: expected numbers from 1 to 9999 with commas, found '1,many'" in result.stderr


class Reader(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_has_times_accuracy_machine_and_hashes_and_loads_nothing(
    nano: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "new/report.html"
    result = run("--report", file, "--backend", "onnxruntime", *SHORT)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"wrote {file}, ")
    page = Reader(file.read_text())
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 1
    assert page.tags.count("rect") == 5
    assert nano.hash in page.words
    assert all(one.sha256 in page.words for one in nano.manifest.files.values())
    for words in ("p99", "mask IoU", "processor", "power mode", "libraries", "onnxruntime"):
        assert words in page.words


def test_a_report_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    result = run("--report", tmp_path)
    assert result.exit_code == 2
    assert (
        result.stderr == f"error: --report {tmp_path}: expected a file, found a folder; name a file in it\n"
    )
