"""Reads an engine's precision off its table of layers, and compares it with the bundle's.

TensorRT prints one line per layer, in its verbose build log and from its inspector alike:

    Name: conv_in/Conv_myl0_1, LayerType: correlation, Inputs: [ { Name: x, ..., Datatype: Half, ... }], ...

A layer's type is that of its first operand. Full TensorRT 10 writes "Format/Datatype: Half" and has layer
types such as CaskConvolution, MatrixMultiply and gemm, as published logs show; no build of ours did yet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ...bundle.manifest import Graph
from ...errors import BackendError
from ..fp32_islands import COORDINATES, is_in_island

_LINE = re.compile(
    r"^(?:\[\d+\]:? )?Name: (?P<name>.+?), LayerType: (?P<kind>\w+), (?P<rest>.*)$", re.MULTILINE
)
_SUFFIX = re.compile(r"_myl\d+_\d+$")
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]\x1f]+)\]")
_OPERAND = re.compile(r"Dimensions: \[(?P<shape>[-\d,]*)\].*?(?:Format/)?Datatype: (?P<type>[^,}\]]+)")
# Convolutions and matrix products, alone (by type) or first in a fusion of several operations (by name).
_HEAVY_KIND = re.compile("corr|conv|gemm|matrixmultiply|matmul", re.IGNORECASE)
_HEAVY_FUSION = re.compile("^(__myl_|_).*(Corr|Deco|Fc|gemm|mha)")
# The order matters: "BFloat16" contains "float" too.
_TYPES = {"int8": "int8", "bf": "bf16", "half": "fp16", "fp16": "fp16", "fp32": "fp32", "float": "fp32"}


@dataclass(frozen=True)
class Layer:
    """A convolution or a matrix product of an engine.

    nodes: the ONNX nodes that it was made from. computes_in: "fp32", "fp16", "bf16", "int8" or another type.
    inner: last dimension of its first operand, -1 where that is dynamic.
    """

    name: str
    nodes: tuple[str, ...]
    computes_in: str
    inner: int


def heavy_layers(table: str) -> list[Layer]:
    """Returns the convolutions and matrix products in a table of layers.

    Raises BackendError where the text is no such table, so that the engine cannot be checked.
    """
    lines = list(_LINE.finditer(table))
    if not lines:
        raise BackendError(
            "TensorRT told no layers of the engine that it built, so its precision cannot be checked; "
            "nothing was cached: use a version of docs/nvidia.md"
        )
    return [_layer(line) for line in lines if _is_heavy(line)]


def _is_heavy(line: re.Match[str]) -> bool:
    heavy = _HEAVY_KIND.search(line["kind"]) or _HEAVY_FUSION.search(line["name"])
    return bool(heavy and _OPERAND.search(line["rest"]))


def _layer(line: re.Match[str]) -> Layer:
    name = _SUFFIX.sub("", line["name"])
    nodes = {*re.split(r" ?\+ ?", name), *_ONNX_NODE.findall(line["rest"])}
    operand = _OPERAND.search(line["rest"])
    assert operand is not None
    inner = operand["shape"].split(",")[-1]
    return Layer(name, tuple(sorted(nodes)), _precision(operand["type"]), int(inner or 1))


def _precision(datatype: str) -> str:
    text = datatype.lower()
    return next((ours for theirs, ours in _TYPES.items() if theirs in text), text)


def check_layers(graph: Graph, layers: Sequence[Layer]) -> dict[str, int]:
    """Returns the number of heavy layers by precision, which must be that of `graph` in the bundle.

    Layers that bundle.json lists under int8 must be int8. Every other layer must have the graph's precision,
    or be fp32 where it belongs to one of the graph's fp32 islands. A layer that is int8 but not listed was
    merged with a listed one.

    Raises BackendError with the names of layers in another precision.
    """
    wrong = [*_not_int8(graph, layers), *_other(graph, layers)]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BackendError(
            f"{graph.spec.name}: expected an engine in {graph.precision} as bundle.json says, found "
            f"{'; '.join(wrong[:3])}{more}; nothing was cached: export the bundle again, or upgrade TensorRT"
        )
    return dict(sorted(Counter(layer.computes_in for layer in layers).items()))


def _not_int8(graph: Graph, layers: Iterable[Layer]) -> list[str]:
    """Returns the layers that should be int8 and are not."""
    types_of_nodes = {node: layer.computes_in for layer in layers for node in layer.nodes}
    types = {name: types_of_nodes.get(name, "absent") for name in (graph.int8.layers if graph.int8 else ())}
    return [f"{name} is {kind}" for name, kind in types.items() if kind != "int8"]


def _other(graph: Graph, layers: Iterable[Layer]) -> list[str]:
    """Returns the layers in a precision that the graph does not allow."""
    allowed = set(graph.precision.split("+"))
    return [
        f"{layer.name} is {layer.computes_in}"
        for layer in layers
        if layer.computes_in not in allowed
        and not (layer.computes_in == "fp32" and _in_island(graph.fp32_islands, layer))
    ]


def _in_island(islands: Collection[str], layer: Layer) -> bool:
    """Whether a layer belongs to one of the graph's fp32 islands."""
    if COORDINATES in islands and layer.inner == 2:
        return True
    return any(is_in_island(node, island) for island in islands for node in layer.nodes)
