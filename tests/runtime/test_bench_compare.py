"""glesam-bench --compare and --report: every backend takes its turn, and what is said of each is so."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle
from glesam_runtime.cli.bench import app
from glesam_runtime.engines import ONNX_BACKENDS, open_engines
from glesam_runtime.errors import BackendError
from glesam_runtime.preprocess import Pixels
from glesam_runtime.prompts import Prompt
from glesam_runtime.tools.bench import compare as compare_module
from glesam_runtime.tools.bench.compare import Contender, compare, contenders
from glesam_runtime.tools.bench.measure import Plan, synthetic_image
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
    file = tmp_path / "all.json"
    result = run("--compare", *SHORT, "--out", file)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(file.read_text())
    cores = document["machine"]["cores"]
    found = {(each["backend"], each["threads"]) for each in document["contenders"]}
    assert found == {(name, count) for name in ONNX_BACKENDS for count in {1, cores}}
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
    comparison = compare(nano, synthetic_image(), BOX, [Contender("onnxruntime", 1)], Plan(0, 1))
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

    def noted(self: compare_module._Opened, image: Pixels, prompt: Prompt) -> None:
        turns.append(self.contender.backend)
        original(self, image, prompt)

    monkeypatch.setattr(compare_module._Opened, "run", noted)
    chosen = [Contender(name, 1) for name in ONNX_BACKENDS]
    comparison = compare(nano, synthetic_image(), BOX, chosen, Plan(warmup=1, rounds=2))
    assert turns == [*ONNX_BACKENDS] * 3
    spread = comparison.results[0].whole  # of two samples: p50 is their mean, which a third one would move
    assert spread.p50 == pytest.approx(spread.mean, abs=1e-3)


def test_a_named_backend_is_compared_at_its_threads_alone(nano: Bundle) -> None:
    assert contenders("openvino", [1, 2]) == [Contender("openvino", 1), Contender("openvino", 2)]
    assert contenders("tensorrt", [1, 2]) == [Contender("tensorrt", 0)]
    with pytest.raises(BackendError, match=r"no backend runs this bundle here: abacus: .*unknown"):
        compare(nano, synthetic_image(), BOX, contenders("abacus", [1]), Plan(0, 1))


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
