"""The decoder's DDIM steps as a static graph: exact folds, and in both decoders what PyTorch computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_model import random_model, random_nano, randomize_norms
from torch import nn

from glesam.ddim import DdimDenoiser
from glesam.model import GleSam
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_export.graphs import graphs
from glesam_export.rewrites.static_denoiser import StaticDenoiser
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS, check_graph_file
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine
from glesam_runtime.tools.parity import compare

S = 64
MAX_RELATIVE = {"fp32": 2e-5, "fp16": 2e-2}


@torch.no_grad()
def test_the_folded_steps_are_the_loop_in_float64() -> None:
    torch.manual_seed(0)
    loop = DdimDenoiser(16).double().eval()
    randomize_norms(loop)
    x = torch.randn(3, 16, 5, 7, dtype=torch.float64)
    static = StaticDenoiser(loop)
    torch.testing.assert_close(static(x), loop(x), rtol=1e-12, atol=1e-12)
    assert not [m for m in static.modules() if isinstance(m, nn.BatchNorm2d | nn.Embedding)]


def with_denoiser(model: GleSam) -> GleSam:
    """The model with a trained-looking denoiser in its decoder."""
    sam = model.config.sam
    config = replace(model.config, sam=replace(sam, decoder=replace(sam.decoder, denoise=True)))
    torch.manual_seed(1)
    other = GleSam(config).eval().requires_grad_(False)
    other.load_state_dict(model.state_dict(), strict=False)
    randomize_norms(other.mask_decoder)
    return other


@pytest.fixture(scope="module", params=["two_way", "prompt_maps"])
def decoder(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def model(decoder: str) -> GleSam:
    """Read only."""
    return with_denoiser(random_model("sd15") if decoder == "two_way" else random_nano())


@pytest.fixture(scope="module")
def same_graphs(decoder: str, fp32_bundle: Path, fp32_graphs: Callable[..., Path]) -> tuple[Path | str, ...]:
    names = ("image_encoder", "gle")
    return (fp32_bundle if decoder == "two_way" else fp32_graphs("nano", *names), *names)


@pytest.fixture(scope="module")
def decoders(model: GleSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ddim")
    (graph,) = (graph for graph in graphs(model) if graph.name == "mask_decoder")
    exported = onnx_from_graph(graph)
    save_onnx(exported, root / "fp32.onnx")
    lower_precision(exported, "fp16")
    save_onnx(exported, root / "fp16.onnx")
    return root


@pytest.mark.parametrize("count", [1, 3])
def test_the_graph_computes_pytorchs_masks_for_several_prompts(
    model: GleSam, decoders: Path, precision: str, count: int
) -> None:
    rng = np.random.default_rng(0)
    feeds = {
        "image_embeddings": rng.standard_normal((1, 256, 4, 4), np.float32),
        "point_coords": rng.uniform(0, 60, (count, 2, 2)).astype(np.float32),
        "point_labels": np.array([[1, 0]] * count, np.int32),
        "mask_input": rng.standard_normal((count, 1, 16, 16), np.float32),
        "has_mask_input": np.ones(count, np.float32),
    }
    with torch.no_grad():
        expected = model.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    spec = bundle_contract(S)["mask_decoder"]
    actual = open_engine("onnxruntime", decoders / f"{precision}.onnx", spec)(feeds)
    for array, tensor in zip(actual.values(), expected, strict=True):
        assert compare(array, tensor.numpy()).relative < MAX_RELATIVE[precision]


def test_a_reader_accepts_the_graph_which_has_no_loop_and_no_batch_norm(decoders: Path) -> None:
    for name in ("fp32.onnx", "fp16.onnx"):
        content = (decoders / name).read_bytes()
        check_graph_file(content, bundle_contract(S)["mask_decoder"], name, {name: len(content)})
    operators = [node.op_type for node in onnx.load(decoders / "fp32.onnx").graph.node]
    assert set(operators) <= FLOAT_OPERATORS
    # Five steps of two bottlenecks of three convolutions, and a last one.
    assert operators.count("Conv") >= 35


def test_tensorrt_for_rtx_builds_its_engines(
    fp16_export: Path, built_for_rtx: Callable[[Path], dict[str, str]]
) -> None:
    built_for_rtx(fp16_export)
