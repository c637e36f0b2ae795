"""Weights kept in int8 for a graph that computes in float: a quarter of the bytes, the same arithmetic.

    int8 weight -> DequantizeLinear -> (Transpose) -> Conv | ConvTranspose | MatMul | Gemm

For the mask decoder: its activations and sums stay in high precision, but in a small bundle its weights are
half of all bytes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from glesam_calib.layers import integer_of
from glesam_calib.qdq import dequantized_weight, drop_unused, weight_array

LEAST_SIZE = 1024
"""Elements: smaller weights are not worth their scales."""


def store_weights_in_int8(graph: ir.Graph, scale_type: type[np.floating]) -> int:
    """In place, one scale per output channel, as `insert_qdq` does it. Returns how many weights."""
    stored = 0
    for weight in list(graph.initializers.values()):
        axes = {_output_axis(use.node, use.idx) for use in weight.uses()}
        if weight.const_value is None or len(axes) != 1 or weight.const_value.size < LEAST_SIZE:
            continue
        axis = axes.pop()
        if axis is None or weight.dtype != ir.DataType.FLOAT or weight_array(weight).ndim < 2:
            continue
        uses = list(weight.uses())
        restored = dequantized_weight(graph, weight, axis, scale_type)
        for use in uses:
            use.node.replace_input_with(use.idx, restored)
        stored += 1
    drop_unused(graph)
    graph.sort()
    return stored


def _output_axis(node: ir.Node, position: int) -> int | None:
    """The axis of a node's input that is the layer's output; None where it is no layer's weight."""
    if node.op_type == "Transpose":
        layers = [use.node.op_type for use in node.outputs[0].uses()]
        return 0 if layers and set(layers) == {"MatMul"} else None  # Linear's [outputs, inputs]
    if position != 1:
        return None
    if node.op_type == "Gemm":
        return 0 if integer_of(node, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}.get(node.op_type)
