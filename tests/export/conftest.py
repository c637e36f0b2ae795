"""Fixtures for the exporter's tests, beside those of tests/conftest.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from glesam.model import GleSam, checkpoint_files
from glesam_export.pipeline import ExportOptions, export_bundle
from glesam_runtime.cli.build import app as build_app
from glesam_runtime.tools.measure import ImageSets

torch.set_num_threads(1)
logging.getLogger("torch.__trace").propagate = False  # thousands of empty lines in a failure's report


@pytest.fixture(params=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def bundle_path(request: pytest.FixtureRequest, precision: str) -> Path:
    """The bundle of `precision`."""
    path: Path = request.getfixturevalue(f"{precision}_bundle")
    return path


@pytest.fixture
def checkpoint_model(checkpoints: dict[str, Path], precision: str) -> GleSam:
    """The model that `bundle_path` was made from."""
    return GleSam.from_pretrained(checkpoints[precision])


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Noise, uint8 [48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def same_graphs() -> tuple[Path | str, ...]:
    """A folder of graphs, and names of those that a test file's own `model` has, too."""
    return (Path(),)


@pytest.fixture(scope="module")
def fp16_export(
    model: GleSam,
    same_graphs: tuple[Path | str, ...],
    known_graphs: Callable[..., AbstractContextManager[None]],
    picture: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The fp16 bundle of a test file's own `model`, with `checkpoint` beside it; never change it."""
    root = tmp_path_factory.mktemp("bundles")
    model.save_pretrained(root / "checkpoint")
    sets: ImageSets = {"clean": [picture], "lq3": [picture[::-1].copy()]}
    files = checkpoint_files(root / "checkpoint")
    with known_graphs(*same_graphs):
        export_bundle(model, files, root / "fp16", sets, ExportOptions("fp16"), lambda _: None)
    return root / "fp16"


@pytest.fixture
def built_for_rtx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, str]]:
    """Builds a bundle with TensorRT for RTX; returns what is said of each graph's heavy layers."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))

    def built(bundle: Path) -> dict[str, str]:
        done = CliRunner().invoke(build_app, [str(bundle), "--target", "sm86"])
        assert done.exit_code == 0, done.output
        lines = (line.split(" for any GPU") for line in done.stdout.splitlines() if " for any GPU" in line)
        layers = {name: rest.split("heavy layers: ")[1] for name, rest in lines}
        assert layers.keys() == {"image_encoder", "gle", "mask_decoder"}
        return layers

    return built


@pytest.fixture(params=["image_encoder", "gle", "mask_decoder"])
def onnx_graph(request: pytest.FixtureRequest, bundle_path: Path) -> onnx.ModelProto:
    """One graph of `bundle_path`, with the types of every tensor."""
    model = onnx.load(bundle_path / f"{request.param}.onnx")
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
