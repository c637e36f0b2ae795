"""glesam-export: a bad option or file is one clear line, exit status 2, nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from glesam.config import FORMAT_VERSION
from glesam.model import GleSam
from glesam_export import pipeline
from glesam_export.cli import app

Refusal = Callable[..., str]


@pytest.fixture
def own_checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(checkpoints["fp32"], tmp_path / "checkpoint"))


@pytest.fixture
def refused(own_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Run glesam-export, check that it fails as it should before any work, return its line."""

    def too_late(*_: object) -> None:
        raise AssertionError("a graph was converted")

    monkeypatch.setattr(pipeline, "onnx_from_graph", too_late)
    (tmp_path / "out").mkdir()

    def run(*options: object, checkpoint: Path = own_checkpoint, out: Path = tmp_path / "out/bundle") -> str:
        result = CliRunner().invoke(app, [str(checkpoint), "--out", str(out), *map(str, options)])
        assert result.exit_code == 2, result.output
        assert list((tmp_path / "out").rglob("*")) == []
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    return run


@pytest.mark.parametrize("precision", ["fp8", "FP16", "", "half"])
def test_an_unknown_precision(refused: Refusal, precision: str) -> None:
    assert f"precision {precision!r}: expected one of fp32, fp16, bf16" in refused("--precision", precision)


@pytest.mark.parametrize("opset", [17, 21, -1])
def test_an_opset_that_is_not_written(refused: Refusal, opset: int) -> None:
    assert f"opset {opset}: expected 18, 19 or 20" in refused("--opset", opset)


@pytest.mark.parametrize("min_iou", ["2", "-0.1", "nan"])
def test_a_min_iou_that_is_no_iou(refused: Refusal, min_iou: str) -> None:
    assert f"min-iou {min_iou}: expected a number from 0 to 1" in refused("--min-iou", min_iou)


def test_a_missing_checkpoint(refused: Refusal, tmp_path: Path) -> None:
    line = refused(checkpoint=tmp_path / "absent")
    assert f"no folder {tmp_path / 'absent'}; expected one with config.json and model.safetensors" in line
    assert "absent" in refused(checkpoint=Path("x" * 5000 + "absent"))


def test_a_folder_without_a_checkpoint(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "cannot read a GleSAM checkpoint" in refused(checkpoint=tmp_path / "empty")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_config(refused: Refusal, own_checkpoint: Path, text: bytes) -> None:
    (own_checkpoint / "config.json").write_bytes(text)
    assert f"cannot read a GleSAM checkpoint from {own_checkpoint}" in refused()


def test_a_config_from_the_future(refused: Refusal, own_checkpoint: Path) -> None:
    config = json.loads((own_checkpoint / "config.json").read_text())
    version = FORMAT_VERSION + 1
    (own_checkpoint / "config.json").write_text(json.dumps(config | {"format_version": version}))
    assert f"format_version {version}, this glesam reads 1 to {version - 1}; upgrade glesam" in refused()


def test_tensors_that_do_not_fit_the_config(refused: Refusal, own_checkpoint: Path) -> None:
    path = own_checkpoint / "model.safetensors"
    tensors = load_file(path)
    name = "gle.unet.conv_in.base_layer.weight"
    tensors[name] = torch.zeros(16, 4, 3, 3)
    save_file(tensors, path)
    assert f"1 misshapen tensors, first '{name}'" in refused()


def test_truncated_weights(refused: Refusal, own_checkpoint: Path) -> None:
    path = own_checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cannot read a GleSAM checkpoint" in refused()


def test_images_that_cannot_be_read(refused: Refusal, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    assert "expected a folder of pictures" in refused("--images", folder)
    folder.mkdir()
    assert "no readable picture" in refused("--images", folder)
    (folder / "broken.jpg").write_text("not a picture")
    assert "no readable picture" in refused("--images", folder)


def test_an_out_that_is_something_else(refused: Refusal, own_checkpoint: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (8, 8)).save(photos / "small.png")
    before = sorted(own_checkpoint.iterdir())
    assert "exists and is not a bundle" in refused("--images", photos, out=own_checkpoint)
    file = own_checkpoint / "config.json"
    assert "exists and is not a bundle" in refused("--images", photos, out=file)
    assert "choose another folder with --out" in refused("--images", photos, out=file / "bundle")
    assert "name too long" in refused("--images", photos, out=Path("x" * 300)).lower()
    assert sorted(own_checkpoint.iterdir()) == before


def test_a_full_disk_is_one_line_too(
    own_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "onnx_from_graph", full)
    out = tmp_path / "out" / "bundle"
    result = CliRunner().invoke(app, [str(own_checkpoint), "--images", str(photos), "--out", str(out)])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "No space left on device" in line
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "glesam_export.cli",
        "glesam_calib.cli.quantize",
        "glesam_calib.cli.calibrate",
        "glesam.cli.evaluate",
        "glesam.cli.train",
        "glesam.cli.convert",
    ],
)
def test_help_loads_neither_torch_nor_onnx(command: str) -> None:
    code = (
        "import sys\n"
        f"from {command} import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'torch', 'onnx', 'onnxruntime', 'diffusers', 'cv2'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "option", ["--sam-checkpoint", "--unet", "--triton", "--calib-table", "--no-speed-gate"]
)
def test_options_of_other_commands_are_unknown_here(option: str) -> None:
    """glesam-convert, glesam-triton and glesam-quantize have them."""
    result = CliRunner().invoke(app, [option, "x"])
    assert result.exit_code == 2
    assert f"No such option: {option}" in result.stderr


def test_help_fits_one_screen() -> None:
    lines = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("options", "expected"), [([], 0), (["--refinements", "2"], 2)])
def test_refinements_are_the_checkpoints_or_the_options(
    options: list[str], expected: int, own_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[int] = []

    def export_bundle(model: GleSam, _: object, out: Path, *__: object) -> None:
        exported.append(model.config.sam.refinements)
        out.mkdir()

    monkeypatch.setattr(pipeline, "export_bundle", export_bundle)
    done = CliRunner().invoke(app, [str(own_checkpoint), "--out", str(tmp_path / "bundle"), *options])
    assert (done.exit_code, exported) == (0, [expected]), done.output
