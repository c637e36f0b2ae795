"""nano in int8, with the shipped statistics and no other option."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from glesam.model import checkpoint_files, shipped_checkpoint
from glesam_calib import CalibrationTable
from glesam_calib.observation.observe import GRAPHS
from glesam_runtime import Bundle
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.bundle.writer import CALIBRATION
from glesam_runtime.cli.build import app as build_app
from glesam_runtime.engines import ONNX_BACKENDS, open_engines
from glesam_runtime.tools.parity import MIN_IOU, check
from glesam_runtime.tools.verify import verify


@pytest.fixture(scope="module")
def bundle(nano_int8: Path) -> Bundle:
    """The gate on masks has been the command's own; how fast it is here does not matter."""
    return Bundle.open(nano_int8)


def test_the_statistics_are_of_the_shipped_weights() -> None:
    folder = shipped_checkpoint()
    table = CalibrationTable.load(folder / CALIBRATION)
    table.check_checkpoint({name: sha256_of(path) for name, path in checkpoint_files(folder).items()})
    assert len(table.samples) == 64
    assert set(table.sensitivity) == set(GRAPHS)


def test_its_masks_hold(bundle: Bundle) -> None:
    parity: dict = bundle.manifest.parity["mask_iou"]  # type: ignore[assignment, type-arg]
    assert all(masks["mean"] >= 0.97 for masks in parity.values())


def test_tensorrt_rtx_builds_it_on_three_generations(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decoder too: weights in int8 beside fp16 arithmetic, on which the builder once crashed."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path))
    done = CliRunner().invoke(build_app, [str(bundle.root), "--target", "sm86,sm89,sm120"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" int8") == 6


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_its_golden_vectors_hold_on_every_backend(bundle: Bundle, backend: str) -> None:
    check(verify(bundle, open_engines(backend, bundle)), MIN_IOU["int8"])


def test_its_graphs_are_at_most_three_tenths_of_fp32(bundle: Bundle) -> None:
    """The shipped fp16 bundle's graphs are a little more than half of fp32's."""
    fp16 = Bundle.open()
    sizes = [sum(path.stat().st_size for path in Path(b.root).glob("*.onnx")) for b in (bundle, fp16)]
    assert sizes[0] <= 0.3 * 2 * sizes[1]
