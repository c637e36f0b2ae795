"""PyTorch module -> fp32 ONNX model, whose weights stay PyTorch's own tensors until it is saved."""

from __future__ import annotations

import ast
import ctypes
import gc
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from glesam_export.graphs import Graph
from glesam_export.simplify import simplify
from glesam_runtime.bundle import graph_rules
from glesam_runtime.errors import ConversionError

OPSETS = tuple(graph_rules.OPSETS)
"""Native LayerNormalization needs 17, the exporter starts at 18, TensorRT 10.3 ends at 20."""
SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata of torch's exporter: the modules that a node came from, outermost first, then the node."""


def onnx_from_graph(graph: Graph, opset: int = OPSETS[0]) -> ir.Model:
    """Exports a module with torch's dynamo exporter, which also folds constants.

    Raises:
        ConversionError: the exporter failed; its own error is the cause.
    """
    if opset not in OPSETS:
        raise ConversionError(f"opset {opset}: expected one of {', '.join(map(str, OPSETS))}")
    dims = {name: torch.export.Dim(name) for name in _dynamic_names(graph)}
    shapes = {
        name: {axis: dims[dim] for axis, dim in graph.dynamic_axes.get(name, {}).items()}
        for name in graph.example
    }
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                graph.module,
                kwargs=graph.example,
                dynamo=True,
                opset_version=opset,
                input_names=list(graph.example),
                output_names=list(graph.outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
        assert program is not None
        model = program.model
        _name_nodes(model.graph)
        order_gelus(model.graph)
        model = simplify(model)
        ClearMetadataAndDocStringPass()(model)  # stack traces, with the paths of this machine
    except Exception as error:  # the exporter raises whatever its parts raise
        raise ConversionError(f"{graph.name}: export to ONNX failed: {error}") from error
    if unknown := sorted({node.op_type for node in model.graph} - graph_rules.FLOAT_OPERATORS):
        raise ConversionError(
            f"{graph.name}: the graph holds {', '.join(unknown)}, which not every runtime has; "
            "write the module in the operators that docs/bundle.md lists"
        )
    return model


def _name_nodes(graph: ir.Graph) -> None:
    """Names each node after its module: "gle.unet.mid_block.resnets.0.conv1/Conv", a second one "..._1".

    The exporter numbers its nodes; patterns, tables and engines' logs need names that do not change with it.
    """
    seen = Counter[str]()
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "['', '']"))
        name = f"{scopes[-2]}/{node.op_type}"
        node.name = f"{name}_{seen[name]}" if seen[name] else name
        seen[name] += 1


def order_gelus(graph: ir.Graph) -> None:
    """Turns x (0.5 (1 + erf)), as torch exports GELU, into 0.5 (x (1 + erf)).

    The bits are the same where 2 x does not overflow (in fp16 it does from 32,768 on). ONNX Runtime
    recognizes only this order, and runs its five operators as one.
    """
    for inner in graph:
        if inner.op_type != "Mul" or not _is_half(inner.inputs[0]):
            continue
        half, arguments = inner.inputs[0], _erf_arguments(inner.inputs[1])
        uses = list(inner.outputs[0].uses())
        if len(uses) == 1 and uses[0].node.op_type == "Mul":
            outer, position = uses[0].node, 1 - uses[0].idx
            if outer.inputs[position] in arguments:
                inner.replace_input_with(0, outer.inputs[position])
                outer.replace_input_with(position, half)


def _is_half(value: ir.Value | None) -> bool:
    constant = value.const_value if value is not None else None
    return constant is not None and constant.size == 1 and constant.numpy().item() == 0.5


def _erf_arguments(value: ir.Value | None) -> set[ir.Value | None]:
    """Candidates for x in `value` = 1 + erf(x / sqrt(2)); empty where it is no such sum."""
    add = value.producer() if value is not None else None
    terms = add.predecessors() if add is not None and add.op_type == "Add" else ()
    scaled = [before for erf in terms if erf.op_type == "Erf" for before in erf.predecessors()]
    return {x for node in scaled for x in node.inputs}


def _dynamic_names(graph: Graph) -> set[str]:
    return {dim for axes in graph.dynamic_axes.values() for dim in axes.values()}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silences the exporter's deprecation notes and registration logs, which concern its authors."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def free_memory() -> None:
    """Returns what the exporter leaves in cycles and malloc keeps in its pools: gigabytes at full size."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc
        trim(0)
