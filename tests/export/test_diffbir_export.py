"""glesam-export makes four graphs of DiffBIR's official files, which glesam-eval runs without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_diffbir import uniform, write_official_files
from typer.testing import CliRunner

from glesam.official import diffbir as official
from glesam.restorers import diffbir_onnx
from glesam.restorers.diffbir import tiny_diffbir, torch_parts
from glesam.restorers.diffbir_loop import DiffBirRestorer
from glesam.restorers.opening import open_restorer
from glesam_export import diffbir_graphs
from glesam_export.cli import app
from glesam_runtime.errors import InputError

GRAPHS = ["denoiser.onnx", "stage1.onnx", "vae_decoder.onnx", "vae_encoder.onnx"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Official files, and what the command made of them for pictures of 64 x 64 px."""
    root = tmp_path_factory.mktemp("export")
    files, out = write_official_files(root / "files"), root / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffbir_graphs, "SIDE", 64)
        patch.setattr(official, "DiffBirConfig", tiny_diffbir)
        result = CliRunner().invoke(app, [str(files), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == GRAPHS
    assert f"next: glesam-eval --data DIR --methods sam,restored --restorer {out}" in result.stdout
    return files, out


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffbir_onnx, "DiffBirRestorer", partial(DiffBirRestorer, steps=3))


def test_exported_graphs_restore_what_pytorch_restores(folders: tuple[Path, Path], few_steps: None) -> None:
    files, out = folders
    model = official.read_diffbir(files, tiny_diffbir())
    picture = (255 * uniform(9, 64, 64, 3)).numpy().astype(np.uint8)
    expected = DiffBirRestorer(torch_parts(model), "torch", steps=3, least_side=64)(picture)
    restorer = open_restorer(out)
    assert np.abs(restorer(picture).astype(int) - expected).max() <= 1
    assert restorer.origin.startswith(f"DiffBIR v2 {out}, sha256 stage1.onnx ")
    assert restorer.origin.endswith("ONNX Runtime, 3 steps, guidance 4, seed 0")


def test_other_sizes_are_restored_in_tiles(folders: tuple[Path, Path], few_steps: None) -> None:
    picture = (255 * uniform(9, 50, 100, 3)).numpy().astype(np.uint8)
    restored = open_restorer(folders[1])(picture)
    assert restored.shape == picture.shape
    left = open_restorer(folders[1])(np.pad(picture, [(0, 14), (0, 0), (0, 0)], mode="symmetric")[:, :64])
    assert np.array_equal(restored[:, :36], left[:50, :36]), "up to the second tile it is the first alone"


def test_no_torch_is_needed(folders: tuple[Path, Path]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path;"
        f"from glesam.restorers.opening import open_restorer; open_restorer(Path({str(folders[1])!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("stage1", None, "lacks stage1.onnx; export DiffBIR again"),
        ("vae_encoder", "vae_decoder", "vae_encoder.onnx has latents float32 [1,4,8,8], image"),
        ("vae_decoder", "vae_encoder", "vae_decoder.onnx has image float32 [1,3,64,64], condition"),
    ],
)
def test_other_graphs_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, name: str, other: str | None, expected: str
) -> None:
    copy = Path(shutil.copytree(folders[1], tmp_path / "copy"))
    (copy / f"{name}.onnx").unlink()
    if other is not None:
        shutil.copy(copy / f"{other}.onnx", copy / f"{name}.onnx")
    with pytest.raises(InputError) as error:
        open_restorer(copy)
    assert expected in str(error.value)


def test_diffbir_is_exported_in_fp32_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(folders[0]), "--out", str(tmp_path / "out"), "--precision", "fp16"])
    assert result.exit_code == 2
    assert "precision fp16: DiffBIR is exported in fp32; leave the option out" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", [("images", "."), ("min-iou", "0.99"), ("opset", "20"), ("refinements", "0")]
)
def test_an_option_that_diffbir_does_not_have_is_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/BSRNet.pth").touch()
    name, value = option
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [str(tmp_path / "files"), "--out", str(out), f"--{name}", value])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {name} {value}: DiffBIR has one form of graphs, which are not compared")
    assert not out.exists()
