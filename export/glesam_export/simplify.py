"""Takes out of an exported graph what is left to simplify, as onnxsim would; a test asks onnxsim.

After torch's exporter there remains work on constants that are larger than it folds, the same work twice, and
steps in a row that one can do: transposes, slices, concats, reshapes (Reshape, Squeeze, Unsqueeze). No answer
changes.
onnxsim itself copies the model, and joins layers that int8 tells apart.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import transpose_transpose_rule

FOLDED = 1 << 20
"""Largest tensor that is computed at export [elements]: an embedding of 64 x 64 tokens."""
RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")
Joined = tuple[str, list[list[int]]]
"""An operator, and the constants that it reads beside its first input."""


def simplify(model: ir.Model) -> ir.Model:
    """Returns the model with less to do; nodes that stay keep their names."""
    fold_constants(model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    model = rewrite(model, pattern_rewrite_rules=[transpose_transpose_rule])
    IdentityEliminationPass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    DeduplicateInitializersPass(size_limit=FOLDED)(model)
    CommonSubexpressionEliminationPass()(model)
    for node in list(model.graph):
        value = node.inputs[0] if node.inputs else None
        before = value.producer() if value is not None else None
        if node.op_type == "Concat":
            _join_concats(model.graph, node)
        elif before is not None and (joined := _joined(node, before)):
            _replace(model.graph, node, before, *joined)
    for node in list(model.graph):
        value = node.inputs[0] if node.op_type in RESHAPES else None
        if value is not None and _keeps_its_shape(value, node.outputs[0]):
            ir.convenience.replace_all_uses_with(node.outputs[0], value)
    RemoveUnusedNodesPass()(model)
    return model


def _joined(node: ir.Node, before: ir.Node) -> Joined | None:
    """Returns the step that does the work of both; None where there is none."""
    if node.op_type in RESHAPES and before.op_type in RESHAPES:
        return _one_reshape(node, before)
    if node.op_type == before.op_type == "Slice":
        return _one_slice(node, before)
    return None


def _one_reshape(node: ir.Node, before: ir.Node) -> Joined | None:
    """Returns a Reshape or, where two sizes are open, an Unsqueeze that does the work of two."""
    shape = node.outputs[0].shape
    if shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) <= 1:
        return "Reshape", [sizes]
    if node.op_type == before.op_type == "Unsqueeze":
        inner = [axis % (len(sizes) - 1) for axis in _constant(before, 1) or []]
        outer = [axis % len(sizes) for axis in _constant(node, 1) or []]
        if len(outer) == 1:
            return "Unsqueeze", [sorted([*outer, *(axis + (axis >= outer[0]) for axis in inner)])]
    return None


def _keeps_its_shape(before: ir.Value, after: ir.Value) -> bool:
    """Whether a reshape inside the graph gives what it gets, as that between two joined ones may."""
    if before.shape is None or after.is_graph_output():
        return False
    return before.shape.is_static() and before.shape == after.shape


def _one_slice(node: ir.Node, before: ir.Node) -> Joined | None:
    """Returns a Slice along the axes of two; None where an axis is cut twice or a bound is computed."""
    first, second = ([_constant(each, i) for i in range(1, 5)] for each in (before, node))
    if any(part is None for part in (*first, *second)) or set(first[2] or ()) & set(second[2] or ()):
        return None
    return "Slice", [[*(a or ()), *(b or ())] for a, b in zip(first, second, strict=True)]


def _constant(node: ir.Node, index: int) -> list[int] | None:
    """Returns the integers of an input that is a constant."""
    value = node.inputs[index] if len(node.inputs) > index else None
    return None if value is None or value.const_value is None else value.const_value.numpy().ravel().tolist()


def _replace(
    graph: ir.Graph, node: ir.Node, before: ir.Node, op_type: str, constants: list[list[int]]
) -> None:
    """Puts the joined step in the place of `node`; `before` stays as long as others read it."""
    old = node.outputs[0]
    values = []
    for index, numbers in enumerate(constants):
        tensor = ir.tensor(numbers, dtype=ir.DataType.INT64, name=f"{old.name}_input_{index + 1}")
        value = ir.Value(name=tensor.name, shape=ir.Shape([len(numbers)]), const_value=tensor)
        value.dtype = tensor.dtype
        graph.register_initializer(value)
        values.append(value)
    step = ir.Node("", op_type, [before.inputs[0], *values], num_outputs=1, name=node.name)
    _put_in_place(graph, node, step)


def _join_concats(graph: ir.Graph, node: ir.Node) -> None:
    """Puts what a Concat's own Concats read in their place: those along its axis that nobody else reads."""
    axis = node.attributes["axis"].as_int()
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        inner = value.producer() if value is not None else None
        is_joined = (
            value is not None
            and inner is not None
            and inner.op_type == "Concat"
            and inner.attributes["axis"].as_int() == axis
            and len(value.uses()) == 1
            and not value.is_graph_output()
        )
        inputs += inner.inputs if inner is not None and is_joined else [value]
    if len(inputs) == len(node.inputs):
        return
    joined = ir.Node("", "Concat", inputs, [ir.AttrInt64("axis", axis)], num_outputs=1, name=node.name)
    _put_in_place(graph, node, joined)


def _put_in_place(graph: ir.Graph, node: ir.Node, other: ir.Node) -> None:
    """Removes `node`; its readers read what `other` computes, under the same name."""
    old, new = node.outputs[0], other.outputs[0]
    new.name, new.shape, new.type = old.name, old.shape, old.type
    graph.insert_before(node, other)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
