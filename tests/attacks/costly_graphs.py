"""Graphs of allowed operators that would fill the memory or never end, at loading or when they are called.

Each changes the tiny bundle's GLE, whose input is float32 [1,256,4,4].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hostile_graphs import hostile
from onnx import helper, numpy_helper

INPUT = "image_embeddings"


def _constant(model: onnx.ModelProto, name: str, value: object, dtype: type = np.int64) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def _node(model: onnx.ModelProto, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
    model.graph.node.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
    return output


def _expanded(model: onnx.ModelProto, source: str, shape: list[int], output: str) -> str:
    return _node(model, "Expand", [source, _constant(model, f"{output}_shape", shape)], output)


@hostile
def expansion_to_a_terabyte(model: onnx.ModelProto) -> None:
    _expanded(model, _constant(model, "one", [1], np.float32), [1 << 20, 1 << 18], "bomb")


@hostile
def expansion_of_the_input(model: onnx.ModelProto) -> None:
    _expanded(model, INPUT, [1 << 20, 256, 4, 4], "bomb")


@hostile
def constants_that_unfold_at_loading(model: onnx.ModelProto) -> None:
    """No tensor is large, all together are."""
    one = _constant(model, "one", [1], np.float32)
    for index in range(64):
        _expanded(model, one, [1 << 26], f"bomb{index}")


@hostile
def constants_that_multiply_for_hours_at_loading(model: onnx.ModelProto) -> None:
    one = _constant(model, "one", [1], np.float32)
    matrix = _expanded(model, one, [8192, 8192], "matrix")
    for index in range(40):
        matrix = _node(model, "MatMul", [matrix, matrix], f"matrix{index}")


@hostile
def concatenations_that_double(model: onnx.ModelProto) -> None:
    last = INPUT
    for index in range(40):
        last = _node(model, "Concat", [last, last], f"double{index}", axis=0)


@hostile
def resize_to_gigapixels(model: onnx.ModelProto) -> None:
    scales = _constant(model, "scales", [1, 1, 60_000, 60_000], np.float32)
    _node(model, "Resize", [INPUT, "", scales], "bomb", mode="nearest")


@hostile
def resize_to_not_a_number(model: onnx.ModelProto) -> None:
    scales = _constant(model, "scales", [1, 1, np.nan, np.inf], np.float32)
    _node(model, "Resize", [INPUT, "", scales], "bomb", mode="nearest")


@hostile
def resize_to_given_sizes(model: onnx.ModelProto) -> None:
    sizes = _constant(model, "sizes", [1, 256, 1 << 15, 1 << 15])
    _node(model, "Resize", [INPUT, "", "", sizes], "bomb", mode="linear")


@hostile
def outer_product(model: onnx.ModelProto) -> None:
    column = _node(model, "Reshape", [INPUT, _constant(model, "column", [4096, 1])], "left")
    left = _expanded(model, column, [64, 4096, 1], "many")
    right = _node(model, "Reshape", [left, _constant(model, "row", [1, -1])], "right")
    left = _node(model, "Reshape", [right, _constant(model, "high", [-1, 1])], "high_left")
    _node(model, "MatMul", [left, right], "bomb")


@hostile
def multiplications_for_years(model: onnx.ModelProto) -> None:
    row = _node(model, "Reshape", [INPUT, _constant(model, "row", [1, 4096])], "row_of_input")
    matrix = _expanded(model, row, [4096, 4096], "matrix")
    for index in range(2000):
        matrix = _node(model, "MatMul", [matrix, matrix], f"matrix{index}")


@hostile
def sums_for_hours(model: onnx.ModelProto) -> None:
    last = _expanded(model, INPUT, [1 << 15, 256, 4, 4], "large")
    for index in range(4000):
        last = _node(model, "Sin", [last], f"sin{index}")


@hostile
def hundreds_of_tensors_at_once(model: onnx.ModelProto) -> None:
    names = [_expanded(model, INPUT, [1 << 14, 256, 4, 4], f"large{index}") for index in range(300)]
    for index, name in enumerate(names):
        _node(model, "Relu", [name], f"used{index}")


@hostile
def padding_of_a_gigabyte(model: onnx.ModelProto) -> None:
    pads = _constant(model, "pads", [0, 0, 60_000, 60_000, 0, 0, 60_000, 60_000])
    _node(model, "Pad", [INPUT, pads], "bomb")


@hostile
def padding_by_an_exabyte(model: onnx.ModelProto) -> None:
    pads = _constant(model, "pads", [0, 0, 1 << 61, 1 << 61, 0, 0, 1 << 61, 1 << 61])
    _node(model, "Pad", [INPUT, pads], "bomb")


@hostile
def convolution_with_huge_padding(model: onnx.ModelProto) -> None:
    weight = _constant(model, "weight", np.ones((1, 256, 1, 1)), np.float32)
    _node(model, "Conv", [INPUT, weight], "bomb", pads=[65_536] * 4)


@hostile
def convolution_with_huge_padding_and_stride(model: onnx.ModelProto) -> None:
    """Its output is small, what it slides over is not."""
    weight = _constant(model, "weight", np.ones((1, 256, 1, 1)), np.float32)
    _node(model, "Conv", [INPUT, weight], "bomb", pads=[65_536] * 4, strides=[65_536] * 2)


@hostile
def convolution_with_huge_dilation(model: onnx.ModelProto) -> None:
    weight = _constant(model, "weight", np.ones((1, 256, 2, 2)), np.float32)
    _node(model, "Conv", [INPUT, weight], "bomb", pads=[65_536] * 4, dilations=[65_536] * 2)


@hostile
def convolution_with_a_computed_kernel(model: onnx.ModelProto) -> None:
    kernel = _expanded(model, _constant(model, "one", [1], np.float32), [1, 1, 8192, 8192], "kernel")
    image = _expanded(model, _constant(model, "two", [2], np.float32), [1, 1, 16_000, 16_000], "image")
    _node(model, "Conv", [image, kernel], "bomb")


@hostile
def transposed_convolution_with_huge_strides(model: onnx.ModelProto) -> None:
    weight = _constant(model, "weight", np.ones((256, 1, 1, 1)), np.float32)
    _node(model, "ConvTranspose", [INPUT, weight], "bomb", strides=[65_536] * 2)


@hostile
def pooling_over_huge_padding(model: onnx.ModelProto) -> None:
    _node(model, "AveragePool", [INPUT], "bomb", kernel_shape=[60_000] * 2, pads=[59_000] * 4)


@hostile
def depth_to_space_of_more_than_there_is(model: onnx.ModelProto) -> None:
    _node(model, "DepthToSpace", [INPUT], "bomb", blocksize=64)


@hostile
def gather_of_millions(model: onnx.ModelProto) -> None:
    zero = _constant(model, "zero", [0])
    indices = _expanded(model, zero, [1 << 24], "indices")
    _node(model, "Gather", [INPUT, indices], "bomb", axis=0)


@hostile
def shape_made_of_pixels(model: onnx.ModelProto) -> None:
    whole = _node(model, "Cast", [INPUT], "whole", to=onnx.TensorProto.INT64)
    flat = _node(model, "Reshape", [whole, _constant(model, "flat", [4096])], "flat_input")
    start, end = _constant(model, "start", [0]), _constant(model, "end", [2])
    shape = _node(model, "Slice", [flat, start, end], "shape")
    _node(model, "Expand", [_constant(model, "one", [1], np.float32), shape], "bomb")


@hostile
def shape_multiplied_with_itself(model: onnx.ModelProto) -> None:
    shape = _node(model, "Shape", [INPUT], "shape")
    for index in range(20):
        shape = _node(model, "Mul", [shape, shape], f"square{index}")
    _node(model, "Expand", [_constant(model, "one", [1], np.float32), shape], "bomb")


@hostile
def two_open_sizes(model: onnx.ModelProto) -> None:
    _node(model, "Reshape", [INPUT, _constant(model, "open", [-1, -1])], "bomb")


@hostile
def rank_of_thousands(model: onnx.ModelProto) -> None:
    last = INPUT
    for index in range(2000):
        last = _node(model, "Unsqueeze", [last, _constant(model, f"axis{index}", [0])], f"deep{index}")


@hostile
def thousands_of_parts(model: onnx.ModelProto) -> None:
    names = [f"part{index}" for index in range(200_000)]
    model.graph.node.append(helper.make_node("Split", [INPUT], names, axis=1))


def _without_inputs(op_type: str) -> Callable[[onnx.ModelProto], None]:
    def generate(model: onnx.ModelProto) -> None:
        _node(model, op_type, [], "bomb")

    generate.__name__ = f"{op_type.lower()}_without_inputs"
    return generate


for _op_type in ("Add", "Concat", "Conv", "Gemm", "Reshape", "Shape", "Split"):
    hostile(_without_inputs(_op_type))
