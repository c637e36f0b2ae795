"""Fixtures for the exporter's tests: each style of U-Net is exported once, through the real command."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from glesam_export.images import parity_images
from tiny_model import random_model
from typer.testing import CliRunner

from glesam.model import GleSam
from glesam_export import pipeline
from glesam_export.cli import app
from glesam_export.graphs import Graph
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.tools.measure import ImageSets

torch.set_num_threads(1)
logging.getLogger("torch.__trace").propagate = False  # thousands of empty lines in a failure's report


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By precision: fp32 has an SD 1.5 U-Net, fp16 an SD 2.1 U-Net between the same encoder and decoder."""
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
    folder = tmp_path_factory.mktemp("photos")
    for name in ("chelsea.jpg", "coffee.jpg"):
        shutil.copy(str(files("glesam_export") / "photos" / name), folder)
    return folder


@pytest.fixture(scope="session")
def image_sets(photos: Path) -> ImageSets:
    return parity_images(photos, print)


@pytest.fixture(scope="session")
def fp32_bundle(checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-export; never change it."""
    return exported("fp32", checkpoints, photos, tmp_path_factory)


@pytest.fixture(scope="session")
def fp16_bundle(
    fp32_bundle: Path, checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Made by glesam-export too, from the fp32 graphs of what both models share; never change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "onnx_from_graph", known_graphs(fp32_bundle, "image_encoder", "mask_decoder"))
        return exported("fp16", checkpoints, photos, tmp_path_factory)


@pytest.fixture(scope="session")
def bf16_bundle(
    fp32_bundle: Path, checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Made by glesam-export from the fp32 graphs of the same model; never change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pipeline, "onnx_from_graph", known_graphs(fp32_bundle, "image_encoder", "gle", "mask_decoder")
        )
        checkpoints = {"bf16": checkpoints["fp32"]}
        return exported("bf16", checkpoints, photos, tmp_path_factory, "--min-iou", "0.9")


@pytest.fixture(scope="session")
def int8_bundle(checkpoints: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With fp16 for the rest, calibrated on the photographs it is measured on; never change it.

    Random masks are all edge, so the gate is low; how fast it is here is no matter of a test.
    """
    options = ("--calib-images", str(photos), "--samples", "4", "--min-iou", "0.5", "--no-speed-gate")
    return exported("int8", {"int8": checkpoints["fp32"]}, photos, tmp_path_factory, *options)


def known_graphs(bundle: Path, *names: str) -> Callable[[Graph, int], ir.Model]:
    """A conversion that takes the graphs `names` from a bundle that has them already."""

    def convert(graph: Graph, opset: int) -> ir.Model:
        return (
            ir.load(bundle / f"{graph.name}.onnx") if graph.name in names else onnx_from_graph(graph, opset)
        )

    return convert


def exported(
    precision: str,
    checkpoints: dict[str, Path],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    *options: str,
) -> Path:
    out = tmp_path_factory.mktemp("exports") / precision
    command = [str(checkpoints[precision]), "--precision", precision, "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--images", str(photos), *options])
    assert result.exit_code == 0, result.output
    (out.parent / f"{precision}.log").write_text(result.stdout)
    return out


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


@pytest.fixture(params=["image_encoder", "gle", "mask_decoder"])
def onnx_graph(request: pytest.FixtureRequest, bundle_path: Path) -> onnx.ModelProto:
    """One graph of `bundle_path`, with the types of every tensor."""
    model = onnx.load(bundle_path / f"{request.param}.onnx")
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
