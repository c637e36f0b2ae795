"""Takes out of an exported graph what is left to simplify, as onnxsim would; a test asks onnxsim.

Three things remain after torch's exporter: work on constants that are larger than it folds, transposes in a
row, and reshapes in a row (Reshape, Squeeze, Unsqueeze). The answers stay the same to the bit.
onnxsim itself copies the model, and joins the products of Q, K and V, which are layers of their own in int8.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
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


def simplify(model: ir.Model) -> ir.Model:
    """Returns the model with less to do; nodes that stay keep their names."""
    fold_constants(model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    model = rewrite(model, pattern_rewrite_rules=[transpose_transpose_rule])
    IdentityEliminationPass()(model)
    for node in list(model.graph):
        _join_with_reshape_before(model.graph, node)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    RemoveUnusedNodesPass()(model)
    return model


def _join_with_reshape_before(graph: ir.Graph, node: ir.Node) -> None:
    """Makes `node` read what the reshape before it reads, where both keep the elements' order."""
    value = node.inputs[0] if node.op_type in RESHAPES else None
    before = value.producer() if value is not None else None
    if value is None or before is None or before.op_type not in RESHAPES:
        return
    if len(value.uses()) > 1 or value.is_graph_output():
        return
    joined = _joined(node, before)
    if joined is None:
        return
    op_type, constant = joined
    name = f"{node.outputs[0].name}_{'shape' if op_type == 'Reshape' else 'axes'}"
    parameter = ir.Value(
        name=name,
        shape=ir.Shape([len(constant)]),
        type=ir.TensorType(ir.DataType.INT64),
        const_value=ir.tensor(constant, dtype=ir.DataType.INT64, name=name),
    )
    graph.register_initializer(parameter)
    replacement = ir.Node("", op_type, [before.inputs[0], parameter], num_outputs=1, name=node.name)
    output, new = node.outputs[0], replacement.outputs[0]
    new.name, new.shape, new.type = output.name, output.shape, output.type
    graph.insert_before(node, replacement)
    ir.convenience.replace_all_uses_with(output, new, replace_graph_outputs=True)
    graph.remove([node, before], safe=True)


def _joined(node: ir.Node, before: ir.Node) -> tuple[str, list[int]] | None:
    """Returns operator and constant that do the work of both; None where two open sizes forbid it."""
    shape = node.outputs[0].shape
    if shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) <= 1:
        return "Reshape", sizes
    if node.op_type == before.op_type == "Unsqueeze":
        inner, outer = (_axes(each, rank) for each, rank in ((before, len(sizes) - 1), (node, len(sizes))))
        if len(outer) == 1:
            return "Unsqueeze", sorted([*outer, *(axis + (axis >= outer[0]) for axis in inner)])
    return None


def _axes(node: ir.Node, rank: int) -> list[int]:
    """Returns the axes that an Unsqueeze adds to an answer of `rank` axes, from 0."""
    axes = node.inputs[1]
    assert axes is not None and axes.const_value is not None
    return [int(axis) % rank for axis in axes.const_value.numpy().reshape(-1)]
