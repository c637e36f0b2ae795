"""Fixtures that several folders share: a tiny model, exported and quantized once by the real commands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exports_of_run import exported, graphs_of, known_graphs, written_by
from typer.testing import CliRunner

if TYPE_CHECKING:  # torch and onnx, which most folders' tests do without
    from glesam_runtime.tools.measure import ImageSets

TESTS = Path(__file__).parent
sys.path += map(
    str, (TESTS, TESTS / "export", TESTS.parent / "benchmarks")
)  # escaped_output, programs, tiny_model, harness


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By precision: fp32 has an SD 1.5 U-Net, fp16 an SD 2.1 U-Net between the same encoder and decoder."""
    import torch
    from tiny_model import random_model

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("checkpoints")
    one, other = random_model("sd15"), random_model("sd21")
    one.save_pretrained(root / "fp32")
    for name in ("image_encoder", "prompt_encoder", "mask_decoder"):
        other.get_submodule(name).load_state_dict(one.get_submodule(name).state_dict())
    other.save_pretrained(root / "fp16")
    return {"fp32": root / "fp32", "fp16": root / "fp16"}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two of the shipped photographs."""
    from glesam_calib.photographs import SHIPPED

    folder = tmp_path_factory.mktemp("photos")
    for name in ("chelsea.jpg", "coffee.jpg"):
        shutil.copy(SHIPPED / name, folder)
    return folder


@pytest.fixture(scope="session")
def image_sets(photos: Path) -> ImageSets:
    from glesam_calib.photographs import parity_images

    return parity_images(photos, print)


@pytest.fixture(scope="session")
def fp32_bundle(checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-export; never change it."""
    return exported("fp32", checkpoints["fp32"], photos, tmp_path_factory)


@pytest.fixture(scope="session")
def fp16_bundle(
    fp32_bundle: Path, checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Made by glesam-export too, from the fp32 graphs of what both models share; never change it."""
    with known_graphs(fp32_bundle, "image_encoder", "mask_decoder"):
        return exported("fp16", checkpoints["fp16"], photos, tmp_path_factory)


@pytest.fixture(scope="session")
def bf16_bundle(
    fp32_bundle: Path, checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Made by glesam-export from the fp32 graphs of the same model; never change it."""
    with known_graphs(fp32_bundle, "image_encoder", "gle", "mask_decoder"):
        return exported("bf16", checkpoints["fp32"], photos, tmp_path_factory, "--min-iou", "0.9")


@pytest.fixture(scope="session")
def int8_bundle(fp32_bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-quantize, with fp16 for the rest; never change it."""
    from glesam_calib.cli.quantize import app

    return written_by(app, fp32_bundle, "int8", tmp_path_factory, *quantize_options(photos))


@pytest.fixture(scope="session")
def nano_fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 bundle of the shipped checkpoint, made by glesam-export's defaults; never change it."""
    from glesam.model import shipped_checkpoint
    from glesam_export.cli import app

    return written_by(app, shipped_checkpoint(), "fp32", tmp_path_factory)


@pytest.fixture(scope="session")
def nano_int8(nano_fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of it by glesam-quantize's defaults, but for the gate on speed here; never change it."""
    from glesam_calib.cli.quantize import app

    return written_by(app, nano_fp32, "nano_int8", tmp_path_factory, "--no-speed-gate")


@pytest.fixture(scope="session")
def sam2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM 2 with the GLE of the fp32 checkpoint."""
    from tiny_model import random_model, random_sam2

    model, folder = random_sam2(), tmp_path_factory.mktemp("checkpoints") / "sam2"
    model.gle.load_state_dict(random_model("sd15").gle.state_dict())
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sam2_bundle(
    fp32_bundle: Path, sam2_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The fp32 bundle of a SAM 2, made by glesam-export; never change it."""
    with known_graphs(fp32_bundle, "gle"):
        return exported("fp32", sam2_checkpoint, photos, tmp_path_factory)


@pytest.fixture(scope="session")
def sam2_low_bundles(
    sam2_bundle: Path, sam2_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same model's bundles in fp16 and bf16, made by glesam-export; never change them."""
    with known_graphs(sam2_bundle, "image_encoder", "gle", "mask_decoder"):
        return {
            precision: exported(precision, sam2_checkpoint, photos, tmp_path_factory, "--min-iou", least_iou)
            for precision, least_iou in (("fp16", "0.98"), ("bf16", "0.9"))
        }


@pytest.fixture(scope="session")
def sam2_int8_bundle(sam2_bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-quantize from the fp32 one, as `int8_bundle` is; never change it."""
    from glesam_calib.cli.quantize import app

    return written_by(app, sam2_bundle, "sam2_int8", tmp_path_factory, *quantize_options(photos))


def quantize_options(photos: Path) -> tuple[str, ...]:
    """Calibrates on the photographs that the masks are measured on.

    Random masks are all edge, so the gate is low; how fast int8 is here does not matter to a test.
    """
    shared = ("--images", str(photos), "--calib-images", str(photos), "--samples", "4")
    return (*shared, "--min-iou", "0.5", "--no-speed-gate")


@pytest.fixture(scope="session")
def robust_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny RobustSAM, made by glesam-convert of a file as its authors publish theirs."""
    import torch
    from tiny_robust_sam import CONFIG, tiny_robust_sam

    from glesam.cli.convert import app
    from glesam.official import robust_sam as official

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("robust")
    file, out = folder / "robustsam_checkpoint_b.pth", folder / "checkpoint"
    torch.save({f"module.{name}": tensor for name, tensor in tiny_robust_sam().state_dict().items()}, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(official.SAM_TYPES, 32, "vit_b")
        patch.setattr(official, "robust_sam", lambda _: CONFIG)
        result = CliRunner().invoke(app, ["--robust-sam", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].endswith(f"next: glesam-export {out} --precision fp16")
    return out


@pytest.fixture(scope="session")
def robust_bundle(robust_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-export of `robust_checkpoint` in fp32; never change it."""
    return exported("fp32", robust_checkpoint, photos, tmp_path_factory)


@pytest.fixture(name="known_graphs", scope="session")
def known_graphs_of() -> Callable[..., AbstractContextManager[None]]:
    """`known_graphs`, for tests that export on their own."""
    return known_graphs


@pytest.fixture(scope="session")
def fp32_graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exports_of_run.graphs_of`, for one of `tiny_model.MODELS`."""
    return partial(graphs_of, tmp_path_factory)
