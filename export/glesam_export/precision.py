"""fp32 ONNX -> fp16 ONNX: weights and arithmetic in fp16, with fp32 islands where fp16 breaks.

The precision is in the file, with explicit casts, so that every runtime computes the same thing and no
builder flag can change it. Graph inputs and outputs stay float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from glesam_export.errors import ConversionError

FLOAT, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
HALF_MAX = float(np.finfo(np.float16).max)

FP32_OPS = {
    "LayerNormalization": "squares of activations beyond 256 overflow fp16",
    "InstanceNormalization": "GroupNorm's statistics are sums of squares, which overflow fp16",
    "Softmax": "its sum of exponentials over thousands of positions loses fp16's 11 bits",
}
COORDINATES = "prompt coordinates: fp16 resolves only 1 px beyond 1,024 and the sines amplify it"
COMBINATION = "the arithmetic that ends a graph: GLE's correction is small beside z"
TRIGONOMETRY = ("Sin", "Cos")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
FLOAT_ONLY_INPUTS = {"Resize": (1, 2)}
"""Inputs whose type ONNX fixes to float32: Resize's roi and scales."""


def half_precision(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Converts a simplified fp32 model.

    Returns:
        The fp16 model, and its fp32 islands: name of the operator (or of the part) -> reason.

    Raises:
        ConversionError: a weight does not fit fp16.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    islands = find_islands(inferred.graph)
    converted = _Converter(inferred.graph, islands).run()
    half = helper.make_model(converted, opset_imports=model.opset_import, ir_version=model.ir_version)
    half = onnx.shape_inference.infer_shapes(half, strict_mode=True)
    onnx.checker.check_model(half)
    return half, {part: reason for part, reason in islands.values()}


Islands = dict[int, tuple[str, str]]
"""Index of a node that stays in fp32 -> (part, reason)."""


def find_islands(graph: onnx.GraphProto) -> Islands:
    islands: Islands = {}
    for index in _upstream(graph, TRIGONOMETRY) | _downstream(graph, "point_coords"):
        islands[index] = ("coordinates", COORDINATES)
    for index in _closing_arithmetic(graph):
        islands[index] = ("combination", COMBINATION)
    for index, node in enumerate(graph.node):
        if node.op_type in FP32_OPS:
            islands[index] = (node.op_type, FP32_OPS[node.op_type])
    return islands


def _upstream(graph: onnx.GraphProto, op_types: Iterable[str]) -> set[int]:
    """Nodes of these types and every node they depend on."""
    return _walk_back(graph, [i for i, node in enumerate(graph.node) if node.op_type in op_types])


def _walk_back(
    graph: onnx.GraphProto, start: Iterable[int], through: Iterable[str] | None = None
) -> set[int]:
    """The nodes of `start` and those before them, as long as their type is in `through` (None: any)."""
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    pending, found = list(start), set[int]()
    while pending:
        index = pending.pop()
        node = graph.node[index]
        if index not in found and (through is None or node.op_type in through):
            found.add(index)
            pending += [producers[name] for name in node.input if name in producers]
    return found


def _downstream(graph: onnx.GraphProto, name: str) -> set[int]:
    """Nodes that a tensor reaches before its values are weighed or turned into sines."""
    reached, found = {name}, set()
    for index, node in enumerate(graph.node):
        if reached & set(node.input) and node.op_type not in (*WEIGHTED, "Shape"):
            found.add(index)
            if node.op_type not in TRIGONOMETRY:
                reached |= set(node.output)
    return found


def _closing_arithmetic(graph: onnx.GraphProto) -> set[int]:
    """Elementwise nodes between a graph output and the first node of another kind before it."""
    outputs = {output.name for output in graph.output}
    ends = [i for i, node in enumerate(graph.node) if outputs & set(node.output)]
    return _walk_back(graph, ends, through=ELEMENTWISE)


@dataclass
class _Converter:
    """Walks the nodes in order, casting an input wherever its type is not what the node computes in."""

    graph: onnx.GraphProto
    islands: Islands
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)

    def run(self) -> onnx.GraphProto:
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        typed = [*self.graph.input, *self.graph.value_info, *self.graph.output]
        types = {value.name: value.type.tensor_type.elem_type for value in typed}
        types |= {tensor.name: tensor.data_type for tensor in self.graph.initializer}
        self.floats = {name for name, elem_type in types.items() if elem_type == FLOAT}
        self.stored = {value.name: FLOAT for value in self.graph.input}
        self.casts: dict[tuple[str, int], str] = {}
        outputs = {output.name for output in self.graph.output}
        for index, node in enumerate(self.graph.node):
            in_fp32 = index in self.islands or self._is_constant(node)
            self._convert(node, FLOAT if in_fp32 else HALF, outputs)
        return helper.make_graph(
            self.nodes,
            self.graph.name,
            self.graph.input,
            self.graph.output,
            list(self.initializers.values()),
        )

    def _is_constant(self, node: NodeProto) -> bool:
        """Floats from no float, such as ConstantOfShape's: their type is in the node, not in its inputs."""
        return node.op_type != "Cast" and not self.floats & set(node.input)

    def _convert(self, node: NodeProto, computes_in: int, graph_outputs: set[str]) -> None:
        converted = NodeProto()
        converted.CopyFrom(node)
        fixed = FLOAT_ONLY_INPUTS.get(node.op_type, ())
        for position, name in enumerate(node.input):
            wanted = FLOAT if position in fixed else computes_in
            converted.input[position] = self._input(name, wanted)
        if node.op_type == "Cast" and node.output[0] in self.floats:
            (to,) = [attribute for attribute in converted.attribute if attribute.name == "to"]
            to.i = computes_in
        returned = []
        for position, name in enumerate(node.output):
            if name in self.floats:
                self.stored[name] = computes_in
                if name in graph_outputs and computes_in == HALF:
                    converted.output[position] = f"{name}_fp16"
                    self.stored[f"{name}_fp16"] = HALF
                    returned.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=FLOAT))
                    self.stored[name] = FLOAT
        self.nodes += [converted, *returned]

    def _input(self, name: str, wanted: int) -> str:
        """The name under which a node that computes in `wanted` reads this tensor."""
        if name in self.weights:
            return self._initializer(name, wanted)
        if name not in self.floats or self.stored[name] == wanted:
            return name
        if (name, wanted) not in self.casts:
            cast = f"{name}_as_{'fp16' if wanted == HALF else 'fp32'}"
            self.nodes.append(helper.make_node("Cast", [name], [cast], to=wanted))
            self.casts[name, wanted] = cast
        return self.casts[name, wanted]

    def _initializer(self, name: str, wanted: int) -> str:
        tensor = self.weights[name]
        if tensor.data_type == FLOAT and wanted == HALF:
            stored = f"{name}_fp16"
            if stored not in self.initializers:
                self.initializers[stored] = half_tensor(tensor, stored)
            return stored
        self.initializers[name] = tensor
        return name


def half_tensor(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0))
    if not largest <= HALF_MAX:
        raise ConversionError(
            f"weight {tensor.name}: largest magnitude {largest:g} does not fit fp16 "
            f"(at most {HALF_MAX:g}); export with --precision fp32"
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
