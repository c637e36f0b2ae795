"""A graph with what quantization meets: a norm read by Q, K and V, a residual, convolutions, a ReLU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.quantization.layers import channels_of

CHANNELS, TOKENS = 16, 36
NAMES = ("encoder.to_q/MatMul", "encoder.to_k/MatMul", "encoder.to_v/MatMul", "encoder.out/MatMul",
         "encoder.conv/Conv", "encoder.grouped/Conv", "encoder.conv_out/Conv")  # fmt: skip


def small_graph(dtype: type[np.floating] = np.float32) -> ir.Model:
    rng = np.random.default_rng(0)
    c = CHANNELS

    def constant(name: str, *shape: int) -> None:
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1) if len(shape) > 2 else 1 / np.sqrt(shape[0])
        constants[name] = (scale * rng.normal(size=shape)).astype(dtype)

    constants: dict[str, np.ndarray] = {}
    for name in ("to_q", "to_k", "to_v", "out"):
        constant(name, c, c)
    constant("out_bias", c)
    constants["norm_weight"] = np.exp(2 * rng.normal(size=c)).astype(dtype)  # a few large channels
    constant("norm_bias", c)
    constant("conv", 8, c, 3, 3)
    constant("conv_bias", 8)
    constant("grouped", 8, 4, 1, 1)
    constant("grouped_bias", 8)
    constant("conv_out", 4, 8, 1, 1)
    constants["shape"] = np.array([1, c, 6, 6], np.int64)
    nodes = [
        helper.make_node(
            "LayerNormalization", ["x", "norm_weight", "norm_bias"], ["normed"], "norm", axis=-1
        ),
        helper.make_node("MatMul", ["normed", "to_q"], ["q"], NAMES[0]),
        helper.make_node("MatMul", ["normed", "to_k"], ["k"], NAMES[1]),
        helper.make_node("MatMul", ["normed", "to_v"], ["v"], NAMES[2]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], "encoder/MatMul"),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["attended"], "encoder/MatMul_1"),
        helper.make_node("MatMul", ["attended", "out"], ["out_product"], NAMES[3]),
        helper.make_node("Add", ["out_product", "out_bias"], ["out_sum"]),
        helper.make_node("Add", ["x", "out_sum"], ["residual"]),
        helper.make_node("Transpose", ["residual"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "shape"], ["grid"]),
        helper.make_node("Conv", ["grid", "conv", "conv_bias"], ["c1"], NAMES[4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "grouped", "grouped_bias"], ["c2"], NAMES[5], group=2),
        helper.make_node("Conv", ["c2", "conv_out"], ["y"], NAMES[6]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", kind, [1, TOKENS, c])],
        [helper.make_tensor_value_info("y", kind, [1, 4, 6, 6])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return ir.from_proto(model)


def tokens(seed: int, dtype: type[np.floating] = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, TOKENS, CHANNELS)).astype(dtype)


def run(model: ir.Model, x: np.ndarray, *extra: str) -> list[np.ndarray]:
    """y and the tensors named in `extra`, as ONNX defines them."""
    proto = ir.to_proto(model)
    for name in extra:
        proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return list(ReferenceEvaluator(proto).run(None, {"x": x}))


def observed(model: ir.Model, seeds: range = range(8)) -> dict[str, TensorStatistics]:
    """Statistics of what every layer reads, and of what convolutions answer."""
    axes = {name: channels.axis for name, channels in channels_of(model.graph).items()}
    actual: dict[str, TensorStatistics] = {}
    for seed in seeds:
        for (name, axis), values in zip(axes.items(), run(model, tokens(seed), *axes)[1:], strict=True):
            actual.setdefault(name, TensorStatistics.empty(values.shape[axis])).update(values, axis, name)
    return actual


def constants(model: ir.Model) -> Mapping[str, np.ndarray]:
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
