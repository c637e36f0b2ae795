"""Weights kept in int8 for a graph that computes in float."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser
from small_graph import constants, relative_error, run, small_graph, tokens

from glesam_calib.quantization import weight_only
from glesam_calib.quantization.weight_only import store_weights_in_int8

BY_HEADS = """
<ir_version: 8, opset_import: ["" : 18]>
product (float[1,4,3,8] x) => (float[1,4,3,16] y) <float[4,8,16] weight>
{ y = MatMul (x, weight) }
"""


def test_weights_are_int8_and_activations_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_only, "LEAST_SIZE", 256)
    model = small_graph()
    expected = run(model, tokens(1))[0]
    assert store_weights_in_int8(model.graph, np.float32) == 5
    kinds = [node.op_type for node in model.graph]
    assert "QuantizeLinear" not in kinds
    assert kinds.count("DequantizeLinear") == 5
    assert constants(model)["to_q_int8"].dtype == np.int8
    assert "grouped" in constants(model)  # 32 elements are not worth it
    assert 0 < relative_error(run(model, tokens(1))[0], expected) < 0.01


def _dequantized(model: ir.Model) -> list[ir.Usage]:
    """Who reads what was int8."""
    restored = [node for node in model.graph if node.op_type == "DequantizeLinear"]
    return [use for node in restored for use in node.outputs[0].uses()]


def transposed(model: ir.Model, name: str, perm: list[int]) -> np.ndarray:
    """Puts a Transpose by `perm` between a weight and its product, which computes what it did. The weight."""
    weight = model.graph.initializers[name]
    assert weight.const_value is not None
    array = weight.const_value.numpy()
    stored = ir.Value(
        name=f"{name}_t",
        shape=weight.shape,
        type=weight.type,
        const_value=ir.Tensor(np.ascontiguousarray(array.transpose(perm)), name=f"{name}_t"),
    )
    model.graph.register_initializer(stored)
    turned = ir.Node("", "Transpose", [stored], [ir.AttrInt64s("perm", perm)])
    turned.outputs[0].name = f"{name}_turned"
    (use,) = weight.uses()
    model.graph.insert_before(use.node, turned)
    use.node.replace_input_with(1, turned.outputs[0])
    return array


def test_a_transpose_that_swaps_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_only, "LEAST_SIZE", 256)
    model = small_graph()
    transposed(model, "out", [0, 1])
    expected = run(model, tokens(1))[0]
    store_weights_in_int8(model.graph, np.float32)
    assert relative_error(run(model, tokens(1))[0], expected) < 0.01


def test_a_linear_layers_transposed_weight_has_a_scale_per_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch exports a weight that two products read like this."""
    monkeypatch.setattr(weight_only, "LEAST_SIZE", 256)
    model = small_graph()
    array = transposed(model, "out", [1, 0])
    expected = run(model, tokens(1))[0]
    store_weights_in_int8(model.graph, np.float32)
    scales = constants(model)["out_turned_turned_scale"]
    np.testing.assert_allclose(scales.ravel(), np.abs(array).max(0) / 127, rtol=1e-6)
    assert relative_error(run(model, tokens(1))[0], expected) < 0.01
    # With a Transpose behind DequantizeLinear the builder of TensorRT for RTX 1.7.1 crashes.
    assert "Transpose" not in {use.node.op_type for use in _dequantized(model)}


def test_a_product_by_heads_has_a_scale_per_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """[heads, inputs, outputs], as the decoder's attentions have them."""
    monkeypatch.setattr(weight_only, "LEAST_SIZE", 256)
    model = parser.parse_model(BY_HEADS)
    array = np.random.default_rng(0).normal(size=(4, 8, 16)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, "weight"))
    converted = ir.from_proto(model)
    assert store_weights_in_int8(converted.graph, np.float32) == 1
    scales = constants(converted)["weight_scale"]
    np.testing.assert_allclose(scales, np.abs(array).max((0, 1), keepdims=True) / 127, rtol=1e-6)
