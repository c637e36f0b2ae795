"""The graphs are those of docs/bundle.md, in operators that every runtime has."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # noqa: TID251 - what it makes of a graph
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from glesam.model import GleSam
from glesam_calib.graph.files import save_onnx
from glesam_export import to_onnx
from glesam_export.graphs import Graph, graphs
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime import Bundle
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.engines import open_engine
from glesam_runtime.errors import ConversionError

N, P, S = "num_prompts", "num_points", 64
FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
EMBEDDING = (FLOAT, (1, 256, S // 16, S // 16))
CONTRACT = {
    "image_encoder": {"image": (FLOAT, (1, 3, S, S)), "image_embeddings": EMBEDDING},
    "gle": {"image_embeddings": EMBEDDING, "image_embeddings_enhanced": EMBEDDING},
    "mask_decoder": {
        "image_embeddings": EMBEDDING,
        "point_coords": (FLOAT, (N, P, 2)),
        "point_labels": (INT32, (N, P)),
        "mask_input": (FLOAT, (N, 1, S // 4, S // 4)),
        "has_mask_input": (FLOAT, (N,)),
        "low_res_masks": (FLOAT, (N, 4, S // 4, S // 4)),
        "iou_predictions": (FLOAT, (N, 4)),
    },
}
"""docs/bundle.md at S = 64."""
OUTPUTS = {"image_encoder": 1, "gle": 1, "mask_decoder": 2}


def ops(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("name", CONTRACT)
def test_names_dtypes_and_dynamic_axes_are_the_bundles(bundle_path: Path, name: str) -> None:
    graph = onnx.load(bundle_path / f"{name}.onnx").graph
    actual = {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in [*graph.input, *graph.output]
    }
    assert list(actual.items()) == list(CONTRACT[name].items())
    assert len(graph.output) == OUTPUTS[name]


def test_the_opset_is_one_that_every_runtime_reads(onnx_graph: onnx.ModelProto) -> None:
    (opset,) = onnx_graph.opset_import
    assert opset.domain == ""
    assert 17 <= opset.version <= 20
    assert {node.domain for node in onnx_graph.graph.node} == {""}
    assert not onnx_graph.functions


def test_nothing_in_it_tells_where_it_was_made(bundle_path: Path) -> None:
    here = str(Path(__file__).parents[2]).encode()
    for path in bundle_path.glob("*.onnx"):
        content = path.read_bytes()
        assert here not in content
        assert b"stack_trace" not in content


def test_every_operator_is_one_of_the_documented_list(onnx_graph: onnx.ModelProto) -> None:
    assert ops(onnx_graph) <= FLOAT_OPERATORS
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    section = page.split("\n## Operators\n")[1].split("\nint8 bundles")[0]
    assert " ".join(re.findall("^`(.*)`$", section, re.MULTILINE)).split() == sorted(FLOAT_OPERATORS)


def test_an_operator_beyond_the_list_is_refused() -> None:
    class Rounded(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.round()

    with pytest.raises(ConversionError, match="rounded: the graph holds Round, which not every runtime has"):
        onnx_from_graph(Graph("rounded", Rounded(), {"x": torch.zeros(2)}, ("y",), {}))


def test_every_layer_norm_is_native(onnx_graph: onnx.ModelProto) -> None:
    assert not {"Pow", "ReduceMean", "ReduceL2"} & ops(onnx_graph)
    assert "LayerNormalization" in ops(onnx_graph)


def test_no_scatter_no_search_and_no_branch_is_left(onnx_graph: onnx.ModelProto) -> None:
    unwanted = {"ScatterElements", "ScatterND", "NonZero", "If", "Loop", "Identity", "Dropout"}
    assert not unwanted & ops(onnx_graph)


def test_the_gle_graph_holds_the_folded_weights_and_no_others(
    bundle_path: Path, checkpoint_model: GleSam
) -> None:
    (folded,) = [graph for graph in graphs(checkpoint_model) if graph.name == "gle"]
    tensors = [*folded.module.parameters(), *folded.module.buffers()]
    expected = sum(tensor.numel() for tensor in tensors)
    stored = onnx.load(bundle_path / "gle.onnx").graph.initializer
    actual = sum(int(np.prod(tensor.dims)) for tensor in stored)
    assert expected <= actual < 1.02 * expected  # a few shapes and constants come on top


@pytest.mark.parametrize(("prompts", "points"), [(1, 1), (5, 4), (2, 9)])
def test_any_number_of_prompts_and_points_is_decoded_as_pytorch_does(
    fp32_bundle: Path, checkpoints: dict[str, Path], prompts: int, points: int
) -> None:
    rng = np.random.default_rng(points)
    feeds = {
        "image_embeddings": rng.standard_normal((1, 256, 4, 4), np.float32),
        "point_coords": rng.uniform(0, S, (prompts, points, 2)).astype(np.float32),
        "point_labels": rng.integers(-1, 4, (prompts, points), np.int32),
        "mask_input": 5 * rng.standard_normal((prompts, 1, 16, 16), np.float32),
        "has_mask_input": (np.arange(prompts) % 2).astype(np.float32),
    }
    bundle = Bundle.open(fp32_bundle)
    spec = bundle.manifest.graphs["mask_decoder"].spec
    actual = open_engine("onnxruntime", bundle.graph_path("mask_decoder"), spec)(feeds)
    model = GleSam.from_pretrained(checkpoints["fp32"])
    with torch.no_grad():
        masks, ious = model.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    np.testing.assert_allclose(actual["low_res_masks"], masks.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(actual["iou_predictions"], ious.numpy(), rtol=1e-3, atol=1e-4)


def test_an_opset_that_some_runtime_cannot_read_is_refused() -> None:
    graph = Graph("any", torch.nn.Identity(), {}, (), {})
    for opset in (16, 17, 21):
        with pytest.raises(ConversionError, match=f"opset {opset}: expected one of 18, 19, 20"):
            onnx_from_graph(graph, opset)


def test_a_module_that_does_not_export_is_named() -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such thing")

    with pytest.raises(ConversionError, match="broken: export to ONNX failed"):
        onnx_from_graph(Graph("broken", Broken(), {"x": torch.zeros(1)}, ("y",), {}))


def test_a_graph_that_was_made_of_one_with_external_weights_stands_alone(
    fp32_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As int8 is: a quarter of the bytes, which fit into the file."""
    source, target = tmp_path / "source" / "gle.onnx", tmp_path / "target" / "gle.onnx"
    for path in (source, target):
        path.parent.mkdir()
    monkeypatch.setattr("glesam_calib.graph.files.INLINE_BYTES", 1000)
    save_onnx(ir.load(fp32_bundle / "gle.onnx"), source)
    assert source.with_name("gle.onnx.data").is_file()
    monkeypatch.undo()
    save_onnx(ir.load(source), target)
    source.with_name("gle.onnx.data").unlink()
    assert [path.name for path in target.parent.iterdir()] == ["gle.onnx"]
    expected = onnx.load(fp32_bundle / "gle.onnx").graph.initializer
    actual = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(target).graph.initializer}
    assert all((actual[i.name] == onnx.numpy_helper.to_array(i)).all() for i in expected)


def test_onnxruntime_runs_a_gelu_as_one_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-6, 6, 4096).reshape(1, 64, 64)
    graph = Graph("gelu", torch.nn.GELU(), {"input": x}, ("y",), {})
    optimized = {}
    for name, order in (("ordered", to_onnx.order_gelus), ("torch's", lambda _: None)):
        monkeypatch.setattr(to_onnx, "order_gelus", order)
        save_onnx(onnx_from_graph(graph), tmp_path / f"{name}.onnx")
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", options)
        optimized[name] = ops(onnx.load(tmp_path / "optimized.onnx"))
    assert optimized == {"ordered": {"Gelu"}, "torch's": {"Div", "Erf", "Add", "Mul"}}
    answers = [
        ReferenceEvaluator(onnx.load(tmp_path / f"{name}.onnx")).run(None, {"input": x.numpy()})[0]
        for name in optimized
    ]
    np.testing.assert_array_equal(*answers)
