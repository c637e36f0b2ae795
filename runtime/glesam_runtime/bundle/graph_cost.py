"""What a graph costs, found by its shapes alone: one that no bundle's engine has to bear never reaches it.

Engines compute what follows from constants alone when a graph is loaded; the rest when it is called.
runtime/src/bundle/graph_cost.cpp does the same, in the same order and the same words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .onnx_messages import Constant, Model, Node
from .protobuf import Damaged, quoted
from .shape_rules import MOST_VALUES, Operands, Result, result_of
from .sizes import MOST_AXES, Shape, Size, Unclear, elements, product
from .spec import GraphSpec, TensorSpec

MOST_COMPUTED = 1 << 29
"""Most elements of a computed tensor."""
MOST_LIVE = 1 << 31
"""Most elements of all tensors that later nodes take, at any node."""
MOST_MOVED = 1 << 37
"""Most elements that all nodes together read and write."""
MOST_MULTIPLY_ADDS = 1 << 43
"""Most multiplications of all nodes together."""
MOST_FOLDED = 1 << 27
"""Most elements and multiplications of nodes that take constants alone, beyond FOLDED_PER_ELEMENT."""
FOLDED_PER_ELEMENT = 16
"""The same for each element of all constants, which a few steps may turn into other types and orders."""
_NUMBERS = {"num_prompts": Size(1, prompts=(0, 1)), "num_points": Size(1, points=(0, 1))}


def check_cost(model: Model, content: bytes, spec: GraphSpec) -> None:
    """Checks a graph whose nodes are in order and have known operators.

    content: the bytes of the file. Raises Damaged where a shape does not follow from the inputs', where the
    outputs' are not those of `spec`, or where the graph costs more than any bundle's.
    """
    cost = GraphCost(model, content, spec)
    for index, node in enumerate(model.nodes):
        cost.count(index, node)
    for tensor in spec.outputs:
        if cost.shapes[tensor.name] != _shape_of(tensor):
            raise Damaged(str(tensor), "another computed shape")


class GraphCost:
    """The sums over all nodes so far, and the shape of every tensor."""

    def __init__(self, model: Model, content: bytes, spec: GraphSpec) -> None:
        self.shapes: dict[str, Shape] = {tensor.name: _shape_of(tensor) for tensor in spec.inputs}
        self._values: dict[str, tuple[Size, ...]] = {}
        self._content = content
        self._constants = {constant.name: constant for constant in model.constants}
        for constant in model.constants:
            self.shapes[constant.name] = tuple(map(Size, constant.shape))
            if numbers := _integers(constant, content):
                self._values[constant.name] = tuple(map(Size, numbers))
        self._folded = set(self._constants)
        self._last_use = {name: index for index, node in enumerate(model.nodes) for name in node.inputs}
        self._last_use |= {tensor.name: len(model.nodes) for tensor in spec.outputs}
        self._ending: dict[int, int] = {}
        self._live_elements = self._moved = self._multiply_adds = self._folds = 0
        self._most_folds = MOST_FOLDED + FOLDED_PER_ELEMENT * sum(product(x.shape) for x in model.constants)

    def count(self, index: int, node: Node) -> None:
        """Adds what one node costs."""
        try:
            result = result_of(Operands(node, self.shapes, self._values, self._scales))
            self._add(index, node, result)
        except Unclear:
            raise Damaged("shapes that follow from the inputs'", f"others at {_text(node)}") from None

    def _add(self, index: int, node: Node, result: Result) -> None:
        written = 0
        for name, shape in zip(node.outputs, result.shapes, strict=True):
            written += self._define(index, name, shape)
        if result.values is not None and node.outputs[0]:
            self._values[node.outputs[0]] = result.values
        read = sum(elements(self.shapes[name]) for name in node.inputs if name)
        self._moved += read + written
        self._multiply_adds += result.multiply_adds
        if node.op_type == "Shape" or all(name in self._folded for name in node.inputs if name):
            self._folded.update(node.outputs)
            self._folds += read + written + result.multiply_adds
        self._check(node, result.buffer)
        self._live_elements -= self._ending.pop(index, 0)

    def _define(self, index: int, name: str, shape: Shape) -> int:
        """Notes a computed tensor; returns its elements."""
        if len(shape) > MOST_AXES or any(size.factor < 1 for size in shape):
            raise Unclear
        count = elements(shape)
        if count > MOST_COMPUTED:
            raise Damaged(f"tensors of at most {MOST_COMPUTED} elements", f"more in {quoted(name)}")
        if name:
            self.shapes[name] = shape
        end = self._last_use.get(name, index) if name else index
        self._ending[end] = self._ending.get(end, 0) + count
        self._live_elements += count
        return count

    def _check(self, node: Node, buffer: int) -> None:
        for most, count, what in (
            (MOST_LIVE, self._live_elements + buffer, "elements at once"),
            (MOST_MOVED, self._moved, "elements in all"),
            (MOST_MULTIPLY_ADDS, self._multiply_adds, "multiplications"),
            (self._most_folds, self._folds, "steps on constants alone"),
        ):
            if count > most:
                raise Damaged(f"at most {most} {what}", f"more at {_text(node)}")

    def _scales(self, name: str) -> Sequence[float]:
        """Returns the numbers of a constant of a few floats."""
        constant = self._constants.get(name)
        if constant is None or constant.data_type != 1 or constant.raw_data is None:
            raise Unclear
        raw = self._content[constant.raw_data.start : constant.raw_data.end]
        if len(raw) > 4 * MOST_AXES:
            raise Unclear
        return struct.unpack(f"<{len(raw) // 4}f", raw)


def _integers(constant: Constant, content: bytes) -> tuple[int, ...]:
    """Returns the numbers of a constant that a shape may be made of; none for all others."""
    if constant.data_type != 7 or constant.raw_data is None or len(constant.shape) > 1:
        return ()
    raw = content[constant.raw_data.start : constant.raw_data.end]
    return struct.unpack(f"<{len(raw) // 8}q", raw) if len(raw) <= 8 * MOST_VALUES else ()


def _shape_of(tensor: TensorSpec) -> Shape:
    return tuple(_NUMBERS[size] if isinstance(size, str) else Size(size) for size in tensor.shape)


def _text(node: Node) -> str:
    return f"{node.op_type} {quoted(node.name)}"
