"""fp32 ONNX -> fp16 or bf16 ONNX: weights and arithmetic in 16 bits, with fp32 islands where those break.

The precision is in the file, with explicit casts: every runtime computes the same, and no builder flag can
change it. Graph inputs and outputs stay float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from glesam_runtime.bundle.options import DEGRADATION_LEVEL
from glesam_runtime.engines import fp32_islands
from glesam_runtime.errors import ConversionError

FLOAT = ir.DataType.FLOAT
LOW = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
HALF_MAX = float(np.finfo(np.float16).max)

FP32_OPS = {
    "LayerNormalization": "squares of activations beyond 256 overflow fp16, and bf16 keeps 8 bits of a mean",
    "InstanceNormalization": "GroupNorm's statistics are sums of squares, which overflow fp16",
    "Softmax": "its sum of exponentials over thousands of positions loses fp16's 11 bits",
}
COORDINATES = "prompt coordinates: fp16 resolves only 1 px beyond 1,024 and the sines amplify it"
LEVEL = "the degradation level: a clean picture's must stay 0, and its timestep's sines amplify rounding"
COMBINATION = "the arithmetic that ends a graph: GLE's correction is small beside z"
QUANTIZED_IN_BF16 = "Q/DQ and the int8 layer: bf16 holds no scale, and OpenVINO has no fast kernel for it"
QUANTIZED_ON_ORIN = "Q/DQ and the int8 layer: on Orin TensorRT builds no fp16 scale beside an fp32 tensor"
"""TensorRT issue 4832, of August 2026: version 10.16.2 joins a Cast with the Q or DQ beside it, and then has
no rule for fp16 scales of fp32 tensors on SM 8.7. LayerNorms stay in fp32, and Q/DQ stand behind them."""
EARLY = "the first layers of nano's encoder: few channels of very different range, and bf16 keeps 8 bits"
"""Without this island nano's embeddings are 2.7 times further from fp32."""
STABILITY = "areas of masks, up to 65,536, overflow fp16, and bf16 keeps 8 bits of them"
TRIGONOMETRY = ("Sin", "Cos")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FP32_DECODER = "logits decide where a mask ends, and bf16 keeps 8 bits of them; it is 1 % of the work"
ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
FOURIER = (
    "RobustSAM's spectrum: squares and reciprocals overflow fp16, and the mean hides what is small beside it"
)
FOURIER_NODES = fp32_islands.NODES[fp32_islands.FOURIER]
"""Patterns of the nodes from features to their spectrum and back."""
FLOAT_ONLY_INPUTS = {"Resize": (1, 2)}
"""Inputs whose type ONNX fixes to float32: Resize's roi and scales."""


def lower_precision(model: ir.Model, precision: str, for_orin: bool = False) -> dict[str, str]:
    """Converts an fp32 model in place; weights are converted one by one when the model is saved.

    Args:
        precision: "fp16" or "bf16".
        for_orin: Q/DQ and the int8 layers stay in fp32 beside fp16, too.

    Returns:
        Its fp32 islands: name of the operator (or of the part) -> reason.

    Raises:
        ConversionError: a weight does not fit fp16.
    """
    islands = find_islands(model.graph)
    if precision == "bf16":
        islands |= early_layers(model.graph)
    if precision == "bf16" or for_orin:
        reason = QUANTIZED_IN_BF16 if precision == "bf16" else QUANTIZED_ON_ORIN
        islands |= quantized_layers(model.graph, reason)
    _Lowering(model.graph, islands, LOW[precision], precision).run()
    return {part: reason for part, reason in islands.values()}


def decoder_precision(precision: str) -> tuple[str, dict[str, str]]:
    """The mask decoder's precision in a bundle of `precision`, and its fp32 islands."""
    return ("fp32", {"mask_decoder": FP32_DECODER}) if precision == "bf16" else (precision, {})


Islands = dict[ir.Node, tuple[str, str]]
"""The nodes that stay in fp32, each with (part, reason)."""


def find_islands(graph: ir.Graph) -> Islands:
    """The nodes of a float graph that fp16 or bf16 would break."""
    islands: Islands = {}
    sines = (fp32_islands.COORDINATES, COORDINATES)
    if any(value.name == DEGRADATION_LEVEL for value in graph.outputs):
        sines = (fp32_islands.DEGRADATION_LEVEL, LEVEL)
    for node in _upstream(graph, TRIGONOMETRY) | _downstream(graph, "point_coords"):
        islands[node] = sines
    for node in _closing_arithmetic(graph):
        islands[node] = ("combination", COMBINATION)
    for node in graph:
        if fp32_islands.is_in_island(node.name or "", fp32_islands.STABILITY):
            islands[node] = (fp32_islands.STABILITY, STABILITY)
        if node.op_type in FP32_OPS:
            islands[node] = (node.op_type, FP32_OPS[node.op_type])
        elif in_fourier(node):
            islands[node] = (fp32_islands.FOURIER, FOURIER)
    return islands


def in_fourier(node: ir.Node) -> bool:
    """Whether a node is of RobustSAM's Fourier transform, its inverse, or between them."""
    return fp32_islands.is_in_island(node.name or "", fp32_islands.FOURIER)


def early_layers(graph: ir.Graph) -> Islands:
    """The first layers of an EfficientNet, by the names of their modules."""
    nodes = (node for node in graph if fp32_islands.is_in_island(node.name or "", fp32_islands.EARLY_LAYERS))
    return {node: (fp32_islands.EARLY_LAYERS, EARLY) for node in nodes}


def quantized_layers(graph: ir.Graph, reason: str) -> Islands:
    """The Q/DQ pairs and the layers they belong to."""
    islands: Islands = {}
    for node in graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            islands[node] = ("int8", reason)
            islands |= {use.node: ("int8", reason) for use in node.outputs[0].uses()}
    return islands


def _upstream(graph: ir.Graph, op_types: Iterable[str]) -> set[ir.Node]:
    """The nodes of these types and every node they depend on."""
    return _walk_back([node for node in graph if node.op_type in op_types])


def _walk_back(start: Iterable[ir.Node], through: Iterable[str] | None = None) -> set[ir.Node]:
    """The nodes of `start` and those before them, as long as their type is in `through` (None: any)."""
    pending, walked = list(start), set[ir.Node]()
    while pending:
        node = pending.pop()
        if node not in walked and (through is None or node.op_type in through):
            walked.add(node)
            pending += node.predecessors()
    return walked


def _downstream(graph: ir.Graph, name: str) -> set[ir.Node]:
    """The nodes that an input reaches before its values meet a weight or become sines."""
    reached, nodes = {value for value in graph.inputs if value.name == name}, set[ir.Node]()
    for node in graph:
        if reached & set(node.inputs) and node.op_type not in (*WEIGHTED, "Shape"):
            nodes.add(node)
            if node.op_type not in TRIGONOMETRY:
                reached |= set(node.outputs)
    return nodes


def _closing_arithmetic(graph: ir.Graph) -> set[ir.Node]:
    """The elementwise nodes between a graph output and the last node of another kind before it."""
    ends = [node for value in graph.outputs if (node := value.producer()) is not None]
    return _walk_back(ends, through=ELEMENTWISE)


@dataclass
class _Lowering:
    """Walks the nodes in order and casts an input wherever its type differs from the node's arithmetic."""

    graph: ir.Graph
    islands: Islands
    low: ir.DataType
    suffix: str
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = field(default_factory=dict)

    def run(self) -> None:
        self.floats = {value for value in _values(self.graph) if value.dtype == FLOAT}
        for node in list(self.graph):
            in_fp32 = node in self.islands or self._is_constant(node)
            self._convert(node, FLOAT if in_fp32 else self.low)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses():
                del self.graph.initializers[name]

    def _is_constant(self, node: ir.Node) -> bool:
        """Whether a node makes floats from no float, as ConstantOfShape does: the node holds their type."""
        return node.op_type != "Cast" and not self.floats & set(node.inputs)

    def _convert(self, node: ir.Node, computes_in: ir.DataType) -> None:
        fixed = FLOAT_ONLY_INPUTS.get(node.op_type, ())
        for position, value in enumerate(node.inputs):
            if value is not None and value in self.floats:
                wanted = FLOAT if position in fixed else computes_in
                node.replace_input_with(position, self._input(node, value, wanted))
        if node.op_type == "Cast" and node.outputs[0] in self.floats:
            node.attributes["to"] = ir.AttrInt64("to", computes_in)
        for value in node.outputs:
            if value in self.floats:
                value.dtype = computes_in
                if computes_in != FLOAT and value.is_graph_output():
                    self._return_as_float(node, value)

    def _input(self, node: ir.Node, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        """The value that a node computing in `wanted` reads instead of `value`."""
        if value.dtype == wanted:
            return value
        if (value, wanted) not in self.casts:
            if value.is_initializer():
                self.casts[value, wanted] = self._lowered(value)
            else:
                name = f"{value.name}_as_{'fp32' if wanted == FLOAT else self.suffix}"
                cast = _cast(value, wanted, name)
                self.graph.insert_before(node, cast)
                self.casts[value, wanted] = cast.outputs[0]
        return self.casts[value, wanted]

    def _lowered(self, weight: ir.Value) -> ir.Value:
        tensor, shape = weight.const_value, weight.shape
        assert tensor is not None and isinstance(shape, ir.Shape)
        if self.low == LOW["fp16"]:
            check_fits_half(tensor)
        dtype, kind = self.low, self.low.numpy()

        def convert() -> ir.TensorProtocol:
            return ir.Tensor(tensor.numpy().astype(kind), dtype=dtype)

        name = f"{weight.name}_{self.suffix}"
        lazy = ir.LazyTensor(convert, dtype=dtype, shape=shape, name=name)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=lazy)
        self.graph.register_initializer(value)
        return value

    def _return_as_float(self, node: ir.Node, value: ir.Value) -> None:
        """Casts a graph output back: its name stays, and the value before it is renamed."""
        name = value.name
        value.name = f"{name}_{self.suffix}"
        cast = _cast(value, FLOAT, str(name))
        self.graph.insert_after(node, cast)
        outputs = self.graph.outputs
        outputs[outputs.index(value)] = cast.outputs[0]


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _cast(value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(to))
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", to)], outputs=[output])


def check_fits_half(tensor: ir.TensorProtocol) -> None:
    """Raises ConversionError for a weight beyond the range of fp16."""
    largest = float(np.abs(tensor.numpy()).max(initial=0))
    if not largest <= HALF_MAX:
        raise ConversionError(
            f"weight {tensor.name}: largest magnitude {largest:g} does not fit fp16 "
            f"(at most {HALF_MAX:g}); export with --precision fp32"
        )
