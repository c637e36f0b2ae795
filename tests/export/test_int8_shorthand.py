"""glesam-export --precision int8: a float export and glesam-quantize in one step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glesam_calib import CalibrationTable, pipeline
from glesam_calib.cli.quantize import app as quantize_app
from glesam_calib.speed import Speed
from glesam_export import pipeline as export_pipeline
from glesam_export.cli import app
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import CALIBRATION

GRAPHS = ("image_encoder", "gle", "mask_decoder")


@pytest.fixture
def own_checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to put a table beside."""
    return Path(shutil.copytree(checkpoints["fp32"], tmp_path / "checkpoint"))


def test_it_equals_the_two_steps(
    checkpoints: dict[str, Path],
    fp32_bundle: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known_graphs: Callable[..., AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr(pipeline, "measure_speed", lambda *_: Speed("onnxruntime", 11, 10, known=True))
    both = ["--calib-images", str(photos), "--images", str(photos), "--min-iou", "0.5"]
    at_once, in_two = tmp_path / "at-once", tmp_path / "in-two"
    command = [str(checkpoints["fp32"]), "--precision", "int8", "--out", str(at_once), *both]
    with known_graphs(fp32_bundle, *GRAPHS):
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith(f"--bundle {at_once}")
    done = CliRunner().invoke(quantize_app, [str(fp32_bundle), "--out", str(in_two), *both])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at-once", "in-two"]
    assert Bundle.open(at_once).manifest.files == Bundle.open(in_two).manifest.files
    assert (at_once / "bundle.json").read_bytes() == (in_two / "bundle.json").read_bytes()


def test_int8_that_is_no_faster_is_refused_and_nothing_is_left(
    checkpoints: dict[str, Path],
    fp32_bundle: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known_graphs: Callable[..., AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr(pipeline, "measure_speed", lambda *_: Speed("openvino", 10, 11, known=True))
    command = [str(checkpoints["fp32"]), "--precision", "int8", "--out", str(tmp_path / "b")]
    command += ["--calib-images", str(photos), "--images", str(photos), "--min-iou", "0.5"]
    with known_graphs(fp32_bundle, *GRAPHS):
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "or run glesam-quantize with --no-speed-gate" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def refused(
    own_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs glesam-export, checks that it fails before any work, returns its line."""
    monkeypatch.setattr(export_pipeline, "onnx_from_graph", lambda *_: pytest.fail("a graph was converted"))

    def run(*options: object, precision: str = "int8", out: Path = tmp_path / "b") -> str:
        before = sorted(tmp_path.rglob("*"))
        command = [str(own_checkpoint), "--precision", precision, "--out", str(out), "--images", str(photos)]
        done = CliRunner().invoke(app, [*command, *map(str, options)])
        assert done.exit_code == 2, done.output
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = done.stderr.splitlines()
        return line

    return run


def test_calibration_without_int8_has_no_effect(refused: Callable[..., str], photos: Path) -> None:
    line = refused("--calib-images", photos, precision="fp16")
    assert "calib-images is for --precision int8, and the precision is fp16" in line


def test_opset_18_has_no_fp16_scales(refused: Callable[..., str], photos: Path) -> None:
    assert "opset 18 has no fp16 scales" in refused("--opset", 18, "--calib-images", photos)


def test_statistics_are_required_before_the_work(refused: Callable[..., str]) -> None:
    assert "give --calib-images DIR" in refused()


def test_an_interrupted_or_foreign_table_is_refused_before_the_work(
    refused: Callable[..., str], own_checkpoint: Path
) -> None:
    table = CalibrationTable({"image_encoder": "0" * 64}, {}, {"image_encoder": {}})
    table.save(own_checkpoint / CALIBRATION)
    assert "other weights; run glesam-calibrate" in refused()
    table.complete = False
    table.save(own_checkpoint / CALIBRATION)
    assert "interrupted (0 of 0 samples observed); run that command again" in refused()


def test_something_else_at_out_is_refused_before_the_work(
    refused: Callable[..., str], own_checkpoint: Path, photos: Path
) -> None:
    assert "exists and is not a bundle" in refused("--calib-images", photos, out=own_checkpoint)


def test_a_float_bundle_takes_the_checkpoints_table_along(
    own_checkpoint: Path,
    fp32_bundle: Path,
    photos: Path,
    tmp_path: Path,
    known_graphs: Callable[..., AbstractContextManager[None]],
) -> None:
    (own_checkpoint / CALIBRATION).write_text("{}")
    for precision, has_table in (("fp32", True), ("bf16", False)):
        out = tmp_path / precision
        command = [str(own_checkpoint), "--precision", precision, "--out", str(out), "--min-iou", "0"]
        with known_graphs(fp32_bundle, *GRAPHS):
            done = CliRunner().invoke(app, [*command, "--images", str(photos)])
        assert done.exit_code == 0, done.output
        assert (CALIBRATION in Bundle.open(out).manifest.files) is has_table
    document = json.loads((tmp_path / "fp32/bundle.json").read_text())
    assert document["files"][CALIBRATION]["size"] == 2
