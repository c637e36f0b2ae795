"""Gemm, and a weight that two layers read along different axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from glesam_calib import Quantization
from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.quantization.bias_correction import correct_biases
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import quantize

CHANNELS = 8


def gemms(alpha: float = 1.0, beta: float = 1.0) -> ir.Model:
    """MatMul by a square weight, then Gemm by the same one, transposed."""
    rng = np.random.default_rng(0)
    rows = np.exp(2 * rng.normal(size=(CHANNELS, 1)))  # outputs of very different sizes, along one axis
    constants = {"shared": rows * rng.normal(size=(CHANNELS, CHANNELS)), "bias": rng.normal(size=CHANNELS)}
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["between"], "product/MatMul"),
        helper.make_node(
            "Gemm", ["between", "shared", "bias"], ["y"], "turned/Gemm", transB=1, alpha=alpha, beta=beta
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "gemms",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, CHANNELS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, CHANNELS])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]))


def seen(model: ir.Model) -> dict[str, TensorStatistics]:
    x = np.random.default_rng(1).normal(size=(4, CHANNELS)).astype(np.float32)
    weight = model.graph.initializers["shared"].const_value
    assert weight is not None
    actual = {name: TensorStatistics.empty(CHANNELS) for name in ("x", "between")}
    actual["x"].update(x, -1, "x")
    actual["between"].update(x @ weight.numpy(), -1, "between")
    return actual


def test_each_reader_of_a_shared_weight_has_scales_along_its_own_outputs() -> None:
    model = gemms()
    weight = model.graph.initializers["shared"].const_value
    assert weight is not None
    quantize(model.graph, seen(model), Quantization("absmax", high_precision="fp32", bias_correction=False))
    proto = ir.to_proto(model)
    restored = [node.inputs[1] for node in model.graph if node.name in ("product/MatMul", "turned/Gemm")]
    proto.graph.output.extend(
        helper.make_tensor_value_info(v.name, TensorProto.FLOAT, None) for v in restored
    )
    names = [str(value.name) for value in restored]
    product, turned = ReferenceEvaluator(proto).run(names, {"x": np.zeros((4, CHANNELS), np.float32)})
    for actual, axis in ((product, 1), (turned, 0)):
        steps = np.abs(weight.numpy()).max(1 - axis, keepdims=True) / 127
        assert (np.abs(actual - weight.numpy()) <= steps * 0.501).all()


def test_a_gemms_bias_is_corrected_where_it_is_added_as_it_is() -> None:
    for scaled, expected in ((gemms(), 1), (gemms(alpha=0.5), 0), (gemms(beta=2.0), 0)):
        layers = [layer for layer in layers_of(scaled.graph) if layer.name == "turned/Gemm"]
        assert correct_biases(layers, seen(scaled), np.float32) == expected
