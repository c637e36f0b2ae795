"""Shapes of what an operator computes, by ONNX's rules, and what they cost.

A rule proves its shapes or raises Unclear: a shape that depends on pixels or on weights is refused.
runtime/src/bundle/shape_rules.cpp does the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .onnx_messages import Node
from .sizes import ONE, Shape, Size, elements, product, product_of, require

MOST_VALUES = 64
"""Most numbers of a tensor whose content may decide about a shape."""
MOST_PARTS = 1024
"""Most outputs of a Split."""
_SAME = (
    "Cast", "Clip", "Cos", "DequantizeLinear", "Erf", "Exp", "InstanceNormalization", "LayerNormalization",
    "Log", "Neg", "QuantizeLinear", "Relu", "Sigmoid", "Sin", "Softmax", "Sqrt",
)  # fmt: skip
_BROADCAST = ("Add", "Div", "Equal", "Max", "Min", "Mul", "Sub", "Where")
_TO_THE_END = 1 << 31  # the exporter writes 2^63 - 1


@dataclass(frozen=True)
class Result:
    """What an operator computes.

    buffer: elements of memory that it needs meanwhile, beyond its outputs.
    values: the content of the output where a shape may be made of it.
    """

    shapes: tuple[Shape, ...]
    multiply_adds: int = 0
    buffer: int = 0
    values: tuple[Size, ...] | None = None


class Operands:
    """One node's inputs and attributes, as a rule sees them: all that is absent or unknown is Unclear."""

    def __init__(
        self,
        node: Node,
        shapes: Mapping[str, Shape],
        values: Mapping[str, tuple[Size, ...]],
        scales: Callable[[str], Sequence[float]],
    ) -> None:
        self.node = node
        self._shapes = shapes
        self._values = values
        self._scales = scales
        self._integers = {each.name: each.integers for each in node.attributes}

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def shape(self, index: int = 0) -> Shape:
        require(self.has(index) and self.node.inputs[index] in self._shapes)
        return self._shapes[self.node.inputs[index]]

    def known(self, index: int) -> tuple[Size, ...] | None:
        """Returns the content of an input; None where it is not known."""
        return self._values.get(self.node.inputs[index]) if self.has(index) else None

    def values(self, index: int) -> tuple[Size, ...]:
        values = self.known(index)
        require(values is not None)
        return values or ()

    def numbers(self, index: int) -> list[int]:
        return [value.number() for value in self.values(index)]

    def scales(self, index: int) -> Sequence[float]:
        require(self.has(index))
        return self._scales(self.node.inputs[index])

    def integer(self, name: str, default: int) -> int:
        return self._integers[name][0] if name in self._integers else default

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        return list(self._integers.get(name, default))

    def has_integers(self, name: str) -> bool:
        return name in self._integers


def result_of(operands: Operands) -> Result:
    """Returns what a node computes. Raises Unclear where that does not follow from its inputs' shapes."""
    require(len(operands.node.outputs) == 1 or operands.node.op_type == "Split")
    return RULES[operands.node.op_type](operands)


def broadcast(one: Shape, other: Shape) -> Shape:
    """Returns the shape of what numpy would compute of both."""
    rank = max(len(one), len(other))
    pairs = zip((ONE,) * (rank - len(one)) + one, (ONE,) * (rank - len(other)) + other, strict=True)
    return tuple(_wider(*pair) for pair in pairs)


def _wider(one: Size, other: Size) -> Size:
    require(one == other or ONE in (one, other))
    return other if one == ONE else one


def _axis(axis: int, rank: int) -> int:
    require(-rank <= axis < rank)
    return axis % rank


def _same(operands: Operands) -> Result:
    return Result((operands.shape(),))


def _elementwise(operands: Operands) -> Result:
    shape = operands.shape()
    for index in range(1, len(operands.node.inputs)):
        shape = broadcast(shape, operands.shape(index))
    return Result((shape,), values=_arithmetic(operands))


def _arithmetic(operands: Operands) -> tuple[Size, ...] | None:
    """Returns sums and products of known numbers."""
    if operands.node.op_type not in ("Add", "Mul") or len(operands.node.inputs) != 2:
        return None
    one, other = operands.known(0), operands.known(1)
    if one is None or other is None or not (len(one) == len(other) or 1 in (len(one), len(other))):
        return None
    count = max(len(one), len(other)) if one and other else 0
    pairs = [(one[i % len(one)], other[i % len(other)]) for i in range(count)]
    return tuple(a + b if operands.node.op_type == "Add" else a * b for a, b in pairs)


def _concat(operands: Operands) -> Result:
    shape = list(operands.shape())
    axis = _axis(operands.integer("axis", len(shape)), len(shape))
    known = operands.known(0)
    for index in range(1, len(operands.node.inputs)):
        other, values = operands.shape(index), operands.known(index)
        require(len(other) == len(shape))
        require(all(a == b for i, (a, b) in enumerate(zip(shape, other, strict=True)) if i != axis))
        shape[axis] = shape[axis] + other[axis]
        known = None if known is None or values is None else known + values
        if known is not None and len(known) > MOST_VALUES:
            known = None
    return Result((tuple(shape),), values=known)


def _matmul(operands: Operands) -> Result:
    one, other = operands.shape(0), operands.shape(1)
    require(len(one) >= 2 and len(other) >= 2 and one[-1] == other[-2])
    shape = (*broadcast(one[:-2], other[:-2]), one[-2], other[-1])
    return Result((shape,), product([elements(shape), one[-1].count()]))


def _gemm(operands: Operands) -> Result:
    one, other = operands.shape(0), operands.shape(1)
    require(len(one) == 2 and len(other) == 2)
    one = one[::-1] if operands.integer("transA", 0) else one
    other = other[::-1] if operands.integer("transB", 0) else other
    require(one[1] == other[0])
    shape = (one[0], other[1])
    return Result((shape,), product([elements(shape), one[1].count()]))


@dataclass(frozen=True)
class _Window:
    """Kernels, strides and more of a convolution or a pooling, for each axis of the picture."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]

    @property
    def extents(self) -> list[int]:
        return [dilation * (size - 1) + 1 for dilation, size in zip(self.dilations, self.kernel, strict=True)]


def _window(operands: Operands, kernel: list[int]) -> _Window:
    axes = len(operands.shape()) - 2
    ones = [1] * axes
    window = _Window(
        kernel,
        operands.integers("strides", ones),
        operands.integers("dilations", ones),
        operands.integers("pads", [0] * 2 * axes),
    )
    require(axes >= 1 and len(kernel) == len(window.strides) == len(window.dilations) == axes)
    require(len(window.pads) == 2 * axes and operands.integers("kernel_shape", kernel) == kernel)
    require(all(1 <= size <= 1 << 16 for size in kernel))
    return window


def _slid(operands: Operands, window: _Window) -> tuple[list[int], int]:
    """Returns the size of what a window slides over to, and the number of padded elements it slides over."""
    axes, sides = len(window.kernel), [size.number() for size in operands.shape()[2:]]
    padded = [sides[i] + window.pads[i] + window.pads[i + axes] for i in range(axes)]
    require(all(window.extents[i] <= padded[i] for i in range(axes)))
    shape = [(padded[i] - window.extents[i]) // window.strides[i] + 1 for i in range(axes)]
    return shape, product([elements(operands.shape()[:2]), *padded])


def _conv(operands: Operands) -> Result:
    image, weight = operands.shape(0), operands.shape(1)
    require(len(image) == len(weight) >= 3)
    channels, depth, *kernel = (size.number() for size in weight)
    group = operands.integer("group", 1)
    require(image[1].number() == depth * group and channels % group == 0)
    sides, padded = _slid(operands, _window(operands, kernel))
    shape = (image[0], Size(channels), *map(Size, sides))
    columns = product([depth * group, *kernel, *sides])
    return Result((shape,), product([elements(shape), depth, *kernel]), max(columns, padded))


def _conv_transpose(operands: Operands) -> Result:
    image, weight = operands.shape(0), operands.shape(1)
    require(len(image) == len(weight) >= 3 and image[1] == weight[0])
    depth, *kernel = (size.number() for size in weight[1:])
    group, window, axes = operands.integer("group", 1), _window(operands, kernel), len(kernel)
    extra = operands.integers("output_padding", [0] * axes)
    require(len(extra) == axes)
    inside = [size.number() for size in image[2:]]
    whole = [window.strides[i] * (inside[i] - 1) + window.extents[i] + extra[i] for i in range(axes)]
    sides = [whole[i] - window.pads[i] - window.pads[i + axes] for i in range(axes)]
    require(min(sides) >= 1)
    shape = (image[0], Size(depth * group), *map(Size, sides))
    columns = product([depth * group, *kernel, *inside])
    padded = product([depth * group, *whole])
    return Result((shape,), product([elements(image), depth, *kernel]), max(columns, padded))


def _average_pool(operands: Operands) -> Result:
    image, kernel = operands.shape(), operands.integers("kernel_shape", [])
    require(len(image) >= 3 and operands.integer("ceil_mode", 0) == 0)
    sides, padded = _slid(operands, _window(operands, kernel))
    shape = (*image[:2], *map(Size, sides))
    return Result((shape,), product([elements(shape), *kernel]), padded)


def _depth_to_space(operands: Operands) -> Result:
    shape, block = operands.shape(), Size(operands.integer("blocksize", 1))
    require(len(shape) == 4)
    return Result(((shape[0], shape[1] // (block * block), shape[2] * block, shape[3] * block),))


def _expand(operands: Operands) -> Result:
    return Result((broadcast(operands.shape(), operands.values(1)),))


def _gather(operands: Operands) -> Result:
    shape, indices = operands.shape(0), operands.shape(1)
    axis = _axis(operands.integer("axis", 0), len(shape))
    return Result(((*shape[:axis], *indices, *shape[axis + 1 :]),))


def _pad(operands: Operands) -> Result:
    shape, pads = list(operands.shape()), operands.numbers(1)
    axes = operands.numbers(3) if operands.has(3) else list(range(len(shape)))
    require(len(pads) == 2 * len(axes) and min(pads, default=0) >= 0)
    for i, axis in enumerate(axes):
        axis = _axis(axis, len(shape))
        shape[axis] = shape[axis] + Size(pads[i]) + Size(pads[i + len(axes)])
    return Result((tuple(shape),))


def _reduce(operands: Operands) -> Result:
    shape = operands.shape()
    axes = operands.numbers(1) if operands.has(1) else []
    if not axes and operands.integer("noop_with_empty_axes", 0):
        return Result((shape,))
    gone = {_axis(axis, len(shape)) for axis in axes} or set(range(len(shape)))
    if operands.integer("keepdims", 1):
        return Result((tuple(ONE if i in gone else size for i, size in enumerate(shape)),))
    return Result((tuple(size for i, size in enumerate(shape) if i not in gone),))


def _reshape(operands: Operands) -> Result:
    shape, sizes = operands.shape(), list(operands.values(1))
    if not operands.integer("allowzero", 0):
        for i, size in enumerate(sizes):
            if size == Size(0):
                require(i < len(shape))
                sizes[i] = shape[i]
    open_axes = [i for i, size in enumerate(sizes) if size == Size(-1)]
    require(len(open_axes) <= 1)
    if open_axes:
        (axis,) = open_axes
        sizes[axis] = product_of(shape) // product_of([*sizes[:axis], *sizes[axis + 1 :]])
    require(all(size.factor >= 1 for size in sizes) and elements(shape) == elements(sizes))
    return Result((tuple(sizes),), values=operands.known(0))


def _resize(operands: Operands) -> Result:
    shape = operands.shape()
    require(not operands.has(1) and not operands.has_integers("axes"))
    if operands.has(3):
        require(not operands.has(2))
        sizes = operands.values(3)
    else:
        scales = operands.scales(2)
        require(len(scales) == len(shape))
        sizes = tuple(_scaled(size, scale) for size, scale in zip(shape, scales, strict=True))
    require(len(sizes) == len(shape))
    return Result((sizes,), product([16, elements(shape)]) + product([16, elements(sizes)]))  # cubic: 4 x 4


def _scaled(size: Size, scale: float) -> Size:
    require(0 < scale <= 1 << 16)  # not for NaN
    return size if scale == 1 else Size(math.floor(size.number() * scale))


def _shape(operands: Operands) -> Result:
    shape = operands.shape()
    start, end = operands.integer("start", 0), operands.integer("end", len(shape))
    start, end = (max(0, x + len(shape) if x < 0 else x) for x in (start, end))
    values = shape[start:end]
    return Result(((Size(len(values)),),), values=values)


def _slice(operands: Operands) -> Result:
    shape, starts, ends = list(operands.shape()), operands.numbers(1), operands.numbers(2)
    axes = operands.numbers(3) if operands.has(3) else list(range(len(starts)))
    steps = operands.numbers(4) if operands.has(4) else [1] * len(starts)
    require(len(starts) == len(ends) == len(axes) == len(steps))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = _axis(axis, len(shape))
        shape[axis] = _sliced(shape[axis], start, end, step)
    return Result((tuple(shape),))


def _sliced(size: Size, start: int, end: int, step: int) -> Size:
    require(1 <= step < _TO_THE_END)
    if not size.is_number:
        require(0 <= start < _TO_THE_END <= end and step == 1)
        return size + Size(-start)
    start, end = (min(max(0, x + size.factor if x < 0 else x), size.factor) for x in (start, end))
    require(start < end)
    return Size((end - start - 1) // step + 1)


def _split(operands: Operands) -> Result:
    shape, count = operands.shape(), len(operands.node.outputs)
    require(1 <= count <= MOST_PARTS)
    axis = _axis(operands.integer("axis", 0), len(shape))
    if operands.has(1):
        sizes = list(operands.values(1))
    else:
        require(operands.integer("num_outputs", count) == count)
        whole = shape[axis].number()
        most = (whole - 1) // count + 1
        sizes = [Size(most)] * (count - 1) + [Size(whole - most * (count - 1))]
    total = Size(0)
    for size in sizes:
        total = total + size
    require(len(sizes) == count and total == shape[axis])
    return Result(tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes))


def _squeeze(operands: Operands) -> Result:
    shape = operands.shape()
    if operands.has(1):
        gone = {_axis(axis, len(shape)) for axis in operands.numbers(1)}
    else:
        gone = {i for i, size in enumerate(shape) if size == ONE}
    require(all(shape[i] == ONE for i in gone))
    kept = tuple(size for i, size in enumerate(shape) if i not in gone)
    return Result((kept,), values=operands.known(0))


def _unsqueeze(operands: Operands) -> Result:
    shape, axes = operands.shape(), operands.numbers(1)
    rank = len(shape) + len(axes)
    new = {_axis(axis, rank) for axis in axes}
    require(len(new) == len(axes))
    rest = iter(shape)
    return Result((tuple(ONE if i in new else next(rest) for i in range(rank)),), values=operands.known(0))


def _transpose(operands: Operands) -> Result:
    shape = operands.shape()
    perm = operands.integers("perm", range(len(shape))[::-1])
    require(sorted(perm) == list(range(len(shape))))
    return Result((tuple(shape[axis] for axis in perm),))


RULES: Mapping[str, Callable[[Operands], Result]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _elementwise),
    "AveragePool": _average_pool,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The rule of every operator."""
