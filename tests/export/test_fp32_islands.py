"""Convolutions and products that are kept in fp32 are accepted in an engine of TensorRT, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import onnx_ir as ir
import pytest

from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import WEIGHTED, lower_precision
from glesam_runtime.bundle.manifest import Graph
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines.tensorrt.build import Profile
from glesam_runtime.engines.tensorrt.child import Request, build
from glesam_runtime.engines.tensorrt.layers import Layer, check_layers, heavy_layers
from glesam_runtime.engines.tensorrt.library import load_library
from glesam_runtime.errors import BackendError

CASES = {
    "early layers": ("nano", "image_encoder", "bf16"),
    "degradation level": ("adaptive", "gle", "fp16"),
    "coordinates": ("sd21", "mask_decoder", "fp16"),
    "fourier": ("", "gle", "fp16"),
}
"""By island: a model (none: a RobustSAM) and its graph that has it, and the precision it is lowered to."""


@dataclass(frozen=True)
class Lowered:
    """A graph in 16 bits: its file, its record in bundle.json, and its layers that compute in fp32."""

    path: Path
    graph: Graph
    fp32_layers: list[Layer]


@pytest.fixture(scope="module", params=CASES)
def lowered(
    request: pytest.FixtureRequest,
    fp32_graphs: Callable[..., Path],
    robust_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Lowered:
    """The graph with one of the islands."""
    source, name, precision = CASES[request.param]
    folder = fp32_graphs(source, name) if source else robust_bundle
    model = ir.load(folder / f"{name}.onnx")
    islands = lower_precision(model, precision)
    assert request.param in islands
    layers = [layer(node) for node in model.graph if node.op_type in WEIGHTED and is_fp32(node)]
    path = tmp_path_factory.mktemp("lowered") / f"{name}.onnx"
    save_onnx(model, path)
    return Lowered(path, Graph(path.name, precision, bundle_contract(64)[name], islands, None), layers)


def is_fp32(node: ir.Node) -> bool:
    return node.outputs[0].dtype == ir.DataType.FLOAT


def layer(node: ir.Node) -> Layer:
    """A layer as an engine would list it."""
    operand, name = node.inputs[0], str(node.name)
    assert operand is not None
    assert operand.shape is not None
    inner = operand.shape[-1]
    return Layer(name, (name,), "fp32", inner if isinstance(inner, int) else -1)


def test_every_layer_of_an_island_may_be_fp32(lowered: Lowered) -> None:
    assert lowered.fp32_layers
    assert check_layers(lowered.graph, lowered.fp32_layers) == {"fp32": len(lowered.fp32_layers)}


def test_none_may_be_fp32_where_the_bundle_lists_no_island(lowered: Lowered) -> None:
    with pytest.raises(BackendError, match=r" is fp32.*nothing was cached"):
        check_layers(replace(lowered.graph, fp32_islands={}), lowered.fp32_layers)


def test_tensorrt_for_rtx_keeps_the_names_by_which_islands_are_known(lowered: Lowered) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    library = load_library("tensorrt-rtx")
    digest = sha256(lowered.path.read_bytes()).hexdigest()
    plan, shapes = lowered.path.with_suffix(".plan"), Profile().shapes(lowered.graph.spec)
    request = Request(library.backend, str(lowered.path), digest, str(plan), 86, None, None, shapes)
    assert lowered.graph.precision in check_layers(lowered.graph, heavy_layers(build(library, request)))
