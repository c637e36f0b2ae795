"""fp16 weights and arithmetic, with fp32 where fp16 breaks: read off the graph's own types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort  # noqa: TID251 - runs hand-made graphs that no bundle holds
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from glesam_calib.graph.precision import lower_precision
from glesam_runtime import BackendError, Predictor
from glesam_runtime.errors import ConversionError

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
NORMS = ("LayerNormalization", "InstanceNormalization")
GRAPHS = ("image_encoder", "gle", "mask_decoder")


def load(bundle: Path, name: str) -> ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.load(bundle / f"{name}.onnx"), strict_mode=True)


def types_of(model: ModelProto) -> dict[str, int]:
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def upstream(model: ModelProto, kinds: tuple[str, ...]) -> list[NodeProto]:
    """The nodes of these kinds and all that they depend on."""
    producers = {name: node for node in model.graph.node for name in node.output}
    pending = [node for node in model.graph.node if node.op_type in kinds]
    actual: dict[str, NodeProto] = {}
    while pending:
        node = pending.pop()
        if node.output[0] not in actual:
            actual[node.output[0]] = node
            pending += [producers[name] for name in node.input if name in producers]
    return list(actual.values())


@pytest.mark.parametrize("name", GRAPHS)
def test_every_weight_of_a_convolution_or_product_is_fp16(fp16_bundle: Path, name: str) -> None:
    model = load(fp16_bundle, name)
    types = types_of(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    coordinates = {node.output[0] for node in upstream(model, ("Sin", "Cos"))}
    heavy = ("Conv", "ConvTranspose", "MatMul", "Gemm")
    nodes = [n for n in model.graph.node if n.op_type in heavy and n.output[0] not in coordinates]
    weights = [name for node in nodes for name in node.input if name in stored]
    assert len(weights) > 5
    assert {types[name] for name in weights} == {HALF}
    assert {types[name] for node in nodes for name in [*node.input, *node.output] if name} == {HALF}


@pytest.mark.parametrize("name", GRAPHS)
def test_fp32_weights_belong_to_islands_only(fp16_bundle: Path, name: str) -> None:
    model = load(fp16_bundle, name)
    types = types_of(model)
    islands = {node.output[0] for node in upstream(model, ("Sin", "Cos"))}
    outside = [
        node
        for node in model.graph.node
        if node.op_type not in (*NORMS, "Softmax", "Add", "Sub", "Mul", "Div", "Resize")
        and node.output[0] not in islands
    ]
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == FLOAT}
    assert not {name for node in outside for name in node.input} & stored
    elements = {kind: 0 for kind in (FLOAT, HALF)}
    for tensor in model.graph.initializer:
        if types[tensor.name] in elements:
            elements[types[tensor.name]] += int(np.prod(tensor.dims))
    assert elements[FLOAT] < 0.02 * elements[HALF]


def test_norms_softmax_and_coordinates_compute_in_fp32(fp16_bundle: Path) -> None:
    seen = set()
    for name in GRAPHS:
        model = load(fp16_bundle, name)
        types = types_of(model)
        for node in model.graph.node:
            if node.op_type in (*NORMS, "Softmax", "Sin", "Cos"):
                seen.add(node.op_type)
                assert {types[value] for value in [*node.input, *node.output]} == {FLOAT}, node.name
        for node in upstream(model, ("Sin", "Cos")):
            assert HALF not in {types[value] for value in [*node.input, *node.output] if value}
    assert seen == {*NORMS, "Softmax", "Sin", "Cos"}


def test_the_embedding_and_its_correction_are_combined_in_fp32(fp16_bundle: Path) -> None:
    model = load(fp16_bundle, "gle")
    types = types_of(model)
    (last,) = [node for node in model.graph.node if "image_embeddings_enhanced" in node.output]
    assert last.op_type in ("Add", "Sub")
    assert {types[name] for name in last.input} == {FLOAT}


def test_the_manifest_names_every_island_with_its_reason(fp16_bundle: Path, fp32_bundle: Path) -> None:
    islands = {name: g["fp32_islands"] for name, g in manifest(fp16_bundle)["graphs"].items()}
    assert {"LayerNormalization", "Softmax"} <= islands["image_encoder"].keys()
    assert {"InstanceNormalization", "combination"} <= islands["gle"].keys()
    assert {"LayerNormalization", "Softmax", "coordinates"} <= islands["mask_decoder"].keys()
    assert all(len(reason) > 20 for graph in islands.values() for reason in graph.values())
    assert {g["precision"] for g in manifest(fp16_bundle)["graphs"].values()} == {"fp16"}
    assert all(g["fp32_islands"] == {} for g in manifest(fp32_bundle)["graphs"].values())


def manifest(bundle: Path) -> dict:
    content: dict = json.loads((bundle / "bundle.json").read_text())
    return content


def test_bf16_is_in_the_weights_with_the_same_islands_and_a_decoder_in_fp32(bf16_bundle: Path) -> None:
    for name in ("image_encoder", "gle"):
        model = onnx.load(bf16_bundle / f"{name}.onnx")
        kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        heavy = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
        stored = {kinds[value] for node in heavy for value in node.input if value in kinds}
        assert stored == {TensorProto.BFLOAT16}
        assert {value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]} == {
            FLOAT
        }
    of = manifest(bf16_bundle)["graphs"]
    assert {name: graph["precision"] for name, graph in of.items()} == {
        "image_encoder": "bf16", "gle": "bf16", "mask_decoder": "fp32"
    }  # fmt: skip
    assert {"LayerNormalization", "Softmax"} <= of["image_encoder"]["fp32_islands"].keys()
    assert list(of["mask_decoder"]["fp32_islands"]) == ["mask_decoder"]
    decoder = onnx.load(bf16_bundle / "mask_decoder.onnx")
    assert not {TensorProto.BFLOAT16, HALF} & {tensor.data_type for tensor in decoder.graph.initializer}


def test_a_bf16_bundle_runs_where_bf16_is_and_onnx_runtime_refuses_it(bf16_bundle: Path) -> None:
    parity = manifest(bf16_bundle)["parity"]["graphs"]
    assert 1e-5 < parity["image_encoder"]["relative"] < 0.05
    with pytest.raises(BackendError, match="onnxruntime has no bf16 arithmetic here"):
        Predictor.from_bundle(bf16_bundle, "onnxruntime")


def test_fp16_halves_the_files(fp16_bundle: Path) -> None:
    for name in GRAPHS:
        model = onnx.load(fp16_bundle / f"{name}.onnx")
        elements = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        stored = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        assert stored < 2.1 * elements


def graph_of(
    nodes: list[NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int, ...],
    *,
    opset: int = 19,
) -> ModelProto:
    """A model from "x" to "y", both float32."""
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


def weights(*shape: int, scale: float = 0.2) -> np.ndarray:
    return scale * np.random.default_rng(0).standard_normal(shape, np.float32)


def half_precision(model: ModelProto) -> ModelProto:
    converted = ir.from_proto(model)
    lower_precision(converted, "fp16")
    half = ir.to_proto(converted)
    onnx.checker.check_model(half, full_check=True)
    return onnx.shape_inference.infer_shapes(half, strict_mode=True)


def assert_half_is_close(model: ModelProto, x: np.ndarray) -> ModelProto:
    half = half_precision(model)
    expected, actual = run(model, x), run(half, x)
    assert actual.dtype == np.float32
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=0.01, atol=0.01 * np.abs(expected).max())
    return half


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_over_large_activations_stays_finite_and_right(norm: str) -> None:
    """SAM's encoders reach about 1,400: a square of that does not fit fp16."""
    model = graph_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["large"]),
            helper.make_node(norm, ["large", "scale", "bias"], ["z"]),
            helper.make_node("MatMul", ["z", "v"], ["y"]),
        ],
        {"w": weights(16, 16, scale=350), "v": weights(16, 16), "scale": np.ones(16, np.float32),
         "bias": np.zeros(16, np.float32)},
        (1, 16, 16),
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((1, 16, 16), np.float32)
    half = assert_half_is_close(model, x)
    types = types_of(half)
    (node,) = [node for node in half.graph.node if node.op_type == norm]
    assert {types[name] for name in node.input} == {FLOAT}


def test_a_resize_keeps_its_scales_in_fp32() -> None:
    model = graph_of(
        [helper.make_node("Resize", ["x", "", "scales"], ["z"], mode="nearest"),
         helper.make_node("Conv", ["z", "w"], ["y"])],
        {"scales": np.array([1, 1, 2, 2], np.float32), "w": weights(3, 2, 1, 1)},
        (1, 2, 4, 4),
    )  # fmt: skip
    half = assert_half_is_close(model, weights(1, 2, 4, 4))
    assert types_of(half)["scales"] == FLOAT


def test_a_cast_to_float_becomes_a_cast_to_half_whatever_its_other_attributes() -> None:
    model = graph_of(
        [helper.make_node("Cast", ["x"], ["n"], to=TensorProto.INT32),
         helper.make_node("Cast", ["n"], ["z"], to=FLOAT, saturate=1),
         helper.make_node("MatMul", ["z", "w"], ["y"])],
        {"w": weights(4, 4)},
        (4, 4),
    )  # fmt: skip
    x = np.arange(16, dtype=np.float32).reshape(4, 4) + 0.5  # exact in fp16: nothing rounds twice
    half = assert_half_is_close(model, x)
    assert types_of(half)["z"] == HALF


def test_constants_inside_the_graph_keep_its_types_consistent() -> None:
    fill = numpy_helper.from_array(np.array([1.5], np.float32))
    model = graph_of(
        [helper.make_node("Shape", ["x"], ["shape"]),
         helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=fill),
         helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weights(4))),
         helper.make_node("Add", ["x", "filled"], ["a"]),
         helper.make_node("Relu", ["a"], ["b"]),
         helper.make_node("Add", ["b", "c"], ["d"]),
         helper.make_node("MatMul", ["d", "w"], ["y"])],
        {"w": weights(4, 4)},
        (4, 4),
    )  # fmt: skip
    assert_half_is_close(model, weights(4, 4))


@pytest.mark.parametrize("value", [65536.0, -70000.0, np.inf, np.nan])
def test_a_weight_that_does_not_fit_fp16_is_refused_by_name(value: float) -> None:
    w = weights(4, 4)
    w[2, 3] = value
    model = graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": w}, (4, 4))
    with pytest.raises(ConversionError, match=r"weight w: .* does not fit fp16 .*--precision fp32"):
        half_precision(model)


def test_the_largest_half_is_no_reason_to_refuse() -> None:
    w = np.full((4, 4), 65504, np.float32)
    model = graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": w}, (4, 4))
    assert_half_is_close(model, np.eye(4, dtype=np.float32))
