"""Stores weights in int8 for a graph that computes in float: a quarter of the bytes, the same arithmetic.

    int8 weight -> DequantizeLinear (scale 1) -> Mul (scales) -> Conv | ConvTranspose | MatMul | Gemm

It is meant for the mask decoder: its activations and sums stay in high precision, but in a small bundle its
weights are half of all bytes. A Mul applies the scales, and a weight behind a Transpose is stored transposed:
the builder of TensorRT for RTX 1.7.1 ends in a segmentation fault on DequantizeLinear (scales) -> MatMul and
on DequantizeLinear -> Transpose -> MatMul where a decoder has many of them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from glesam_calib.graph.precision import in_fourier
from glesam_calib.quantization.layers import integer_of
from glesam_calib.quantization.qdq import (
    drop_unused,
    initializer,
    quantized_weight,
    weight_array,
    weight_scales,
)

LEAST_SIZE = 1024
"""Least number of elements: smaller weights are not worth their scales."""


def store_weights_in_int8(graph: ir.Graph, scale_type: type[np.floating]) -> int:
    """Stores weights in place, with one scale per output channel. Returns their number."""
    _turn_weights(graph)
    stored = 0
    for weight in list(graph.initializers.values()):
        axes = {_output_axis(use.node, use.idx) for use in weight.uses()}
        if weight.const_value is None or len(axes) != 1 or weight.const_value.size < LEAST_SIZE:
            continue
        axis = axes.pop()
        if axis is None or weight.dtype != ir.DataType.FLOAT or weight_array(weight).ndim < 2:
            continue
        uses = list(weight.uses())
        restored = _restored(graph, weight, axis, scale_type)
        for use in uses:
            use.node.replace_input_with(use.idx, restored)
        stored += 1
    drop_unused(graph)
    graph.sort()
    return stored


def _restored(graph: ir.Graph, weight: ir.Value, axis: int, scale_type: type[np.floating]) -> ir.Value:
    """Adds the nodes that restore a weight; returns the value that the layer reads instead."""
    array = weight_array(weight)
    scales = weight_scales(array, axis, scale_type)
    name, along = weight.name, [-1 if i == axis else 1 for i in range(array.ndim)]
    inputs = [
        initializer(graph, f"{name}_int8", quantized_weight(array, scales, axis)),
        initializer(graph, f"{name}_one", np.array(1, np.float32)),
        initializer(graph, f"{name}_zero_point", np.array(0, np.int8)),
    ]
    steps = _float(f"{name}_steps", array.shape)
    restored = _float(f"{name}_dequantized", array.shape)
    graph.append(ir.Node("", "DequantizeLinear", inputs, outputs=[steps]))
    scale = initializer(graph, f"{name}_scale", scales.reshape(along))
    graph.append(ir.Node("", "Mul", [steps, scale], outputs=[restored]))
    return restored


def _float(name: str, shape: tuple[int, ...]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def _turn_weights(graph: ir.Graph) -> None:
    """Transposes weights whose Transpose feeds products: those of torch's Linear are [outputs, inputs]."""
    for node in list(graph):
        weight = node.inputs[0] if node.op_type == "Transpose" else None
        if weight is None or weight.const_value is None or not weight.is_initializer():
            continue
        uses = list(node.outputs[0].uses())
        if {use.node.op_type for use in uses} == {"MatMul"} and _swaps_two_axes(node, weight):
            turned = initializer(graph, f"{node.outputs[0].name}_turned", weight_array(weight).T)
            for use in uses:
                use.node.replace_input_with(use.idx, turned)
            graph.remove(node, safe=True)


def _swaps_two_axes(node: ir.Node, weight: ir.Value) -> bool:
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else [1, 0]
    return weight_array(weight).ndim == 2 and list(order) == [1, 0]


def _output_axis(node: ir.Node, position: int) -> int | None:
    """The axis of a layer's outputs in the node's input at `position`; None where that is no weight.

    The waves of a Fourier transform are none: rounded, they are no transform and its inverse.
    """
    if position != 1 or in_fourier(node):
        return None
    if node.op_type == "Gemm":
        return 0 if integer_of(node, "transB", 0) else 1
    if node.op_type == "MatMul":
        weight = node.inputs[1]
        return len(weight.shape) - 1 if weight is not None and weight.shape is not None else None
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type)
