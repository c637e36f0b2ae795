"""Inserts Q/DQ pairs into a float graph: symmetric, before the layer, as TensorRT fuses it.

    x -> QuantizeLinear -> DequantizeLinear -\\
                                              Conv | MatMul | Gemm -> (bias, activation: float)
    int8 weight -> DequantizeLinear ---------/

Activations have one scale, weights one per output channel; zero points are 0. Layers that read the same
tensor share its pair, so that Q, K and V can be merged into one product. Outputs have no pair: what follows
is fused with the layer in float. Targets differ from this (`targets`): a tensor that is never negative may be
uint8, and convolutions may stand between pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from glesam_calib.observation.threshold import LEVELS, UNSIGNED_LEVELS
from glesam_calib.quantization.layers import Layer, answers_of
from glesam_calib.quantization.rounding import rounded
from glesam_calib.quantization.targets import Target

NON_NEGATIVE = ("Relu", "Sigmoid", "Softmax")
MOVES = ("Reshape", "Transpose", "MaxPool", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear")
"""Operators whose answer has the sign of their input."""
SMALLEST_SCALE = 2.0**-20
"""Smallest scale: a tensor of zeros needs one as well, and fp16 has a few bits left here."""


def insert_qdq(
    graph: ir.Graph,
    layers: Sequence[Layer],
    amax: Mapping[str, float],
    scale_type: type[np.floating],
    target: Target = Target(),  # noqa: B008 - frozen
) -> None:
    """Quantizes `layers` in place.

    Args:
        amax: the magnitude that becomes the last step (`levels_of`), by the name of the tensor that a layer
            reads.
        scale_type: np.float16 or np.float32. Scales are rounded to it before anything is divided by them,
            so that their conversion to it changes nothing.
    """
    own, weights = {layer.node for layer in layers}, dict[tuple[ir.Value, int], ir.Value]()
    answers = answers_of(graph, layers) if target.answers else {}
    for value in dict.fromkeys([*(layer.input for layer in layers), *answers]):
        uses = list(value.uses())
        restored = _restored(graph, value, amax[str(value.name)], scale_type, target)
        for use in uses:
            if value in answers or use.node in own or use.node.op_type in target.followers:
                use.node.replace_input_with(use.idx, restored)
    for layer in layers:
        key = layer.weight, layer.output_axis
        if key not in weights:
            weights[key] = dequantized_weight(graph, *key, scale_type)
        layer.node.replace_input_with(1, weights[key])
    drop_unused(graph)
    graph.sort()


def levels_of(value: ir.Value, target: Target) -> int:
    """Number of steps from zero to a tensor's threshold: 255 where it becomes unsigned, otherwise 127."""
    return UNSIGNED_LEVELS if target.unsigned and never_negative(value) else LEVELS


def never_negative(value: ir.Value) -> bool:
    """Whether the operator that makes a tensor, or turned one, says that no element is below zero."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type in MOVES:
        source = node.inputs[0]
        return source is not None and never_negative(source)
    if node.op_type == "Clip":
        least = node.inputs[1] if len(node.inputs) > 1 else None
        return least is not None and least.const_value is not None and bool(least.const_value.numpy() >= 0)
    return node.op_type in NON_NEGATIVE


def drop_unused(graph: ir.Graph) -> None:
    """Removes the constants that no node reads."""
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]


def weight_scales(
    weight: NDArray[np.floating], axis: int, scale_type: type[np.floating]
) -> NDArray[np.float32]:
    """Returns max |w| / 127 of each slice along `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.maximum(np.abs(weight).max(others) / LEVELS, SMALLEST_SCALE)
    rounded: NDArray[np.float32] = scales.astype(scale_type).astype(np.float32)
    return rounded


def quantized_weight(
    weight: NDArray[np.floating], scales: NDArray[np.float32], axis: int
) -> NDArray[np.int8]:
    """Returns w / scale in whole numbers, within +-127; convolutions keep their sums (`rounding`).

    Of the weights with kernels, a convolution's alone has its outputs first.
    """
    steps = weight / _along(scales, axis, weight.ndim)
    whole = rounded(steps) if axis == 0 else np.round(steps)
    return np.clip(whole, -LEVELS, LEVELS).astype(np.int8)


def weight_error(layer: Layer, scale_type: type[np.floating]) -> NDArray[np.float32]:
    """The quantization error of a layer's weight, in its shape."""
    weight = weight_array(layer.weight)
    scales = weight_scales(weight, layer.output_axis, scale_type)
    steps = quantized_weight(weight, scales, layer.output_axis)
    error: NDArray[np.float32] = steps * _along(scales, layer.output_axis, weight.ndim) - weight
    return error


def _restored(
    graph: ir.Graph, value: ir.Value, amax: float, scale_type: type[np.floating], target: Target
) -> ir.Value:
    """Adds a pair behind a tensor; returns what it restores."""
    levels = levels_of(value, target)
    positive = levels == UNSIGNED_LEVELS
    # Not beyond amax by rounding: ONNX Runtime leaves out a Clip whose bounds no step passes.
    scale = np.float32(scale_type(max(amax / levels, SMALLEST_SCALE)))
    scale = scale * np.float32(1 - 2**-20) if positive and scale_type is np.float32 else scale
    middle = np.uint8(128) if target.answers and not positive else np.uint8(0)
    point = middle if positive or target.answers else np.int8(0)
    zero_point = _zero_point(graph, point)
    kind = ir.DataType.from_numpy(point.dtype)
    scale_value = initializer(graph, f"{value.name}_scale", np.array(scale))
    steps = _value(f"{value.name}_{point.dtype}", value.shape, kind)
    restored = _value(f"{value.name}_dequantized", value.shape, ir.DataType.FLOAT)
    graph.extend(
        [
            ir.Node("", "QuantizeLinear", [value, scale_value, zero_point], outputs=[steps]),
            ir.Node("", "DequantizeLinear", [steps, scale_value, zero_point], outputs=[restored]),
        ]
    )
    return restored


def _zero_point(graph: ir.Graph, point: np.int8 | np.uint8) -> ir.Value:
    name = f"{point.dtype}_zero_point" if point == 0 else f"{point.dtype}_middle"
    known = graph.initializers.get(name)
    return initializer(graph, name, np.array(point)) if known is None else known


def dequantized_weight(
    graph: ir.Graph, weight: ir.Value, axis: int, scale_type: type[np.floating]
) -> ir.Value:
    """Adds an int8 weight with a scale for each slice along `axis`; returns the layers' new input."""
    array = weight_array(weight)
    scales = weight_scales(array, axis, scale_type)
    stem = f"{weight.name}_by_{axis}" if f"{weight.name}_int8" in graph.initializers else weight.name
    shape, name = ir.Shape(array.shape), f"{stem}_int8"

    def convert() -> ir.TensorProtocol:
        return ir.Tensor(quantized_weight(array, scales, axis), name=name)

    lazy = ir.LazyTensor(convert, dtype=ir.DataType.INT8, shape=shape, name=name)
    steps = ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.INT8), const_value=lazy)
    graph.register_initializer(steps)
    scale_value = initializer(graph, f"{stem}_scale", scales)
    zero_points = initializer(graph, f"{stem}_zero_point", np.zeros(len(scales), np.int8))
    restored = _value(f"{stem}_dequantized", shape, ir.DataType.FLOAT)
    attributes = [ir.AttrInt64("axis", axis)]
    graph.append(
        ir.Node("", "DequantizeLinear", [steps, scale_value, zero_points], attributes, outputs=[restored])
    )
    return restored


def initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Registers a constant and returns its value."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _value(name: str, shape: ir.Shape | None, dtype: ir.DataType) -> ir.Value:
    return ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))


def weight_array(value: ir.Value) -> NDArray[np.float32]:
    """A constant's values."""
    assert value.const_value is not None
    array: NDArray[np.float32] = value.const_value.numpy()
    return array


def _along(scales: NDArray[np.float32], axis: int, ndim: int) -> NDArray[np.float32]:
    return scales.reshape([-1 if i == axis else 1 for i in range(ndim)])
