"""glesam-bench as a command: what it measures, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import SpyEngine
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle, predictor
from glesam_runtime.cli.bench import app, current_names
from glesam_runtime.engines import open_engines
from glesam_runtime.engines.base import Engine
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.bench.measure import Plan, bench, synthetic_image

SHORT = ("--rounds", 4, "--warmup", 1, "--prompts", "1,3", "--sessions", "1,2")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def document(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, *SHORT, "--json")
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_every_stage_has_its_percentiles(bundle_path: Path) -> None:
    stages = document(bundle_path)["stages_ms"]
    assert list(stages) == ["preprocess", "encode", "enhance", "decode", "postprocess", "image to mask"]
    for spread in stages.values():
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"]
    parts = sum(spread["mean"] for stage, spread in stages.items() if stage != "image to mask")
    assert parts < stages["image to mask"]["mean"]


def test_the_document_says_what_was_measured_on_what(bundle_path: Path) -> None:
    parsed = document(bundle_path)
    assert parsed["format_version"] == 1
    assert parsed["bundle_sha256"] == Bundle.open(bundle_path).hash
    assert (parsed["backend"], parsed["warmup"], parsed["rounds"]) == ("onnxruntime", 1, 4)
    assert parsed["image"]["source"] == "synthetic noise"
    assert parsed["image"]["box"] == [160, 120, 480, 360]
    assert [each["prompts"] for each in parsed["prompts"]] == [1, 3]
    assert [(each["threads"], each["images"]) for each in parsed["threads"]] == [(1, 4), (2, 8)]
    assert set(parsed["first_run"]) == {"load_ms", "set_image_ms", "predict_ms"}
    assert parsed["memory"]["peak_bytes"] >= parsed["memory"]["before_bytes"] > 0
    assert parsed["memory"]["device_bytes"] is None and parsed["memory"]["device_reason"]
    assert parsed["machine"]["libraries"]["onnxruntime"]


def test_a_users_picture_is_identified_by_its_pixels(
    bundle_path: Path, image: Pixels, tmp_path: Path
) -> None:
    for name in ("one.png", "two.bmp"):
        Image.fromarray(image).save(tmp_path / name)
    box = ("--box", 1, 2, 30, 40)
    first, second = (document(bundle_path, "--image", tmp_path / n, *box) for n in ("one.png", "two.bmp"))
    assert first["image"] | {"source": ""} == second["image"] | {"source": ""}
    assert (first["image"]["width"], first["image"]["height"]) == (128, 96)
    assert first["image"]["box"] == [1, 2, 30, 40]


def test_the_synthetic_picture_is_always_the_same() -> None:
    np.testing.assert_array_equal(synthetic_image(), synthetic_image())


def test_people_get_tables_that_fit_80_columns(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "new/bench.json"
    result = run(bundle_path, *SHORT, "--out", file)
    assert result.exit_code == 0, result.output
    for word in ("one picture, one prompt [ms]", "p99", "prompts/s", "pictures/s", "at the peak", "noise"):
        assert word in result.stdout
    assert "…" not in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"wrote {file}, ")
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80
    assert json.loads(file.read_text())["rounds"] == 4
    assert list(file.parent.iterdir()) == [file]


def test_rounds_and_warm_up_are_those_of_the_plan(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes: dict[str, SpyEngine] = {}

    def counted(backend: str, bundle: Bundle, enhance: bool, stream: None, threads: int) -> dict[str, Engine]:
        engines = open_engines(backend, bundle, enhance, stream, threads)
        fakes.update({name: SpyEngine(engine) for name, engine in engines.items()})
        return dict(fakes)

    monkeypatch.setattr(predictor, "open_engines", counted)
    bench(Bundle.open(bundle_path), synthetic_image(), plan=Plan(2, 3, (1, 7), (1, 4)))
    pictures = 1 + 5 + 5 * (1 + 4)
    assert [len(fakes[name].calls) for name in ("image_encoder", "gle")] == [pictures, pictures]
    prompts = [len(feeds["point_labels"]) for feeds in fakes["mask_decoder"].calls]
    assert prompts.count(7) == 5
    assert prompts.count(1) == pictures + 5


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("numbers", ["", "0", "1,,2", "1 2", "-1", "1.5", "many", "²", "99999"])
@pytest.mark.parametrize("option", ["--prompts", "--sessions"])
def test_a_malformed_list_of_numbers_is_refused(bundle_path: Path, option: str, numbers: str) -> None:
    message = refusal(run(bundle_path, option, numbers))
    assert f"{option}: expected numbers from 1 to 9999 with commas, found {numbers!r}" in message


def test_what_cannot_be_measured_is_refused_in_one_line(bundle_path: Path, tmp_path: Path) -> None:
    assert "unknown" in refusal(run(bundle_path, "--backend", "abacus"))
    assert "expected a folder with bundle.json" in refusal(run(tmp_path / "none"))
    assert "expected a picture, found nothing" in refusal(run(bundle_path, "--image", tmp_path / "none.jpg"))
    assert "expected 0 <= X0 < X1 <= 640" in refusal(run(bundle_path, "--box", 0, 0, 642, 9))
    assert "expected one --box, found 2" in refusal(run(bundle_path, *("--box", 0, 0, 9, 9) * 2))
    assert "expected a file, found a folder" in refusal(run(bundle_path, "--out", tmp_path))
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    message = refusal(run(bundle_path, "--image", photo, "--out", tmp_path / "." / "photo.png"))
    assert "that is the --image; name another file" in message
    assert photo.read_bytes() == before


def test_figures_that_cannot_be_written_are_shown_all_the_same(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(bundle_path, *SHORT, "--out", tmp_path / "file/bench.json")
    assert "choose another folder with --out" in refusal(result)
    assert "pictures/s" in result.stdout


def test_names_that_options_had_are_still_taken() -> None:
    old = ["--cpu-threads", "2", "--threads=1,2", "a", "--json", "b.json", "--warmup", "1"]
    assert current_names(old) == ["--threads", "2", "--sessions=1,2", "a", "--out", "b.json", "--warmup", "1"]
    assert current_names(["--threads", "1,2", "--json", "-", "a"]) == ["--sessions", "1,2", "--json", "a"]
    assert current_names(["--json=-"]) == ["--json"] and current_names(["--json=b"]) == ["--out=b"]
    new = ["--json", "a", "--threads", "2", "--out", "b.json"]
    assert current_names(new) == new


def test_an_old_name_is_taken_with_a_note(bundle_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    short = ("--rounds", 1, "--warmup", 0, "--prompts", "1", "--threads", "1,2", "--cpu-threads", 1)
    result = run(bundle_path, *short, "--json", file)
    assert result.exit_code == 0, result.output
    note = result.stderr.splitlines()[0]
    assert note.startswith("note: written today as:")
    assert note.endswith(f"--sessions 1,2 --threads 1 --out {file}")
    assert [each["threads"] for each in json.loads(file.read_text())["threads"]] == [1, 2]
