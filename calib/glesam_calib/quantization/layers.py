"""The layers of a float graph that could be int8, and the policy that chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from glesam_calib.graph.precision import FOURIER_NODES
from glesam_runtime.errors import CalibrationError

FLOAT = (
    *FOURIER_NODES,
    *("*.selector/*", "*.selector.*", "*.channel_attention.*"),
    *("*.level_head.*", "*.time_embedding.*", "*.time_emb_proj*", "*.auxiliary.*"),
)
"""Patterns of the layers that are float whatever they cost alone:

- RobustSAM's spectrum, and its weights of channels and regions, which are one vector of an image.
- An adaptive GLE's level and time embedding, of one row each, which steer the whole step, and the encoder of
  an auxiliary image, which calibration has not seen.

Sums, norms, softmax and products of two activations, those of attention windows among them, are never
quantized, nor is anything in the mask decoder: it is 1 % of the work, and its logits decide where a mask
ends."""

FLOAT_UNMEASURED = (
    *("*.conv_in*", "*.conv_out*", "*.conv_shortcut*"),
    *("*.backbone.stem/*", "*.backbone.blocks.0.*", "*.backbone.blocks.1.*"),
    *("*.patches/*", "*.stages.0.*", "*.stages.?.0.shortcut/*", "*.pyramid/*"),
    *("*.upscaling/*",),
)
"""Patterns of the layers that are float unless what they cost was measured:

- The U-Net's input and output layers, whose error is an error of the answer, and its shortcuts, which carry
  the residual itself.
- The first layers of an EfficientNet, where all details pass through 16 to 32 channels of very different
  range.
- SAM 2's Hiera: the patches and the first stage, whose details reach the mask decoder as high-resolution
  features; the projections that carry the residual from stage to stage; and the neck, whose error is an error
  of the answer. Together they are 9 % of tiny's multiplications and 5 % of large's.
- RobustSAM's output layers."""


@dataclass(frozen=True)
class Layer:
    """A Conv, or a MatMul or Gemm by a constant matrix.

    Attributes:
        channel_axis: the input's axis of channels.
        output_axis: the weight's axis of outputs; each slice along it has a scale of its own.
    """

    node: ir.Node
    channel_axis: int
    output_axis: int

    @property
    def name(self) -> str:
        return self.node.name or ""

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def weight(self) -> ir.Value:
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def weight_shape(self) -> tuple[int, ...]:
        assert self.weight.const_value is not None
        return self.weight.const_value.numpy().shape


@dataclass(frozen=True)
class Policy:
    """Which layers become int8, by patterns of their names (fnmatch): "*.attn2.*", "*/Conv".

    Attributes:
        include: quantized even where `FLOAT` lists them, and whatever they cost alone.
        exclude: left in float; this overrides `include`.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def takes(self, name: str, measured: bool = False) -> bool:
        """Whether a layer that could be int8 becomes int8, as far as patterns decide.

        `measured`: whether it is known what the layer costs.
        """
        if _matches(name, self.exclude):
            return False
        in_float = FLOAT if measured else (*FLOAT, *FLOAT_UNMEASURED)
        return self.insists_on(name) or not _matches(name, in_float)

    def insists_on(self, name: str) -> bool:
        """Whether a layer becomes int8 whatever it costs."""
        return _matches(name, self.include)

    def may_return(self, name: str) -> bool:
        """Whether what a layer costs decides: only such layers are measured."""
        return self.takes(name, measured=True) and not self.insists_on(name)

    def choose(self, layers: Sequence[Layer]) -> list[Layer]:
        """The layers that the policy takes where nothing was measured."""
        return [layer for layer in layers if self.takes(layer.name)]

    def check(self, names: Sequence[str]) -> None:
        """Raises CalibrationError for a pattern that fits no layer: it may be misspelt."""
        for pattern in (*self.include, *self.exclude):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise CalibrationError(
                    f"no layer is called {pattern!r}; they are called like {', '.join(names[:3])} "
                    "(bundle.json lists the int8 ones)"
                )


@dataclass(frozen=True)
class Channels:
    """Where a tensor has its channels, and how many."""

    axis: int
    count: int


def channels_of(graph: ir.Graph) -> dict[str, Channels]:
    """The channels of every tensor that may be quantized, by name: what layers read, then `answers_of`."""
    layers = layers_of(graph)
    channels = {}
    for layer in layers:
        count = layer.weight_shape[1 - layer.output_axis] * integer_of(layer.node, "group", 1)
        channels[str(layer.input.name)] = Channels(layer.channel_axis, count)
    for value, count in answers_of(graph, layers).items():
        channels.setdefault(str(value.name), Channels(1, count))
    return channels


def answers_of(graph: ir.Graph, layers: Sequence[Layer]) -> dict[ir.Value, int]:
    """What these convolutions answer, behind their activation, and sums of such tensors, with their channels.

    In the graph's order, without its outputs.
    """
    outputs = {layer.node: layer.weight_shape[0] for layer in layers if layer.node.op_type == "Conv"}
    found: dict[ir.Value, int] = {}
    for node in graph:
        first = node.inputs[0] if node.inputs else None
        if node in outputs:
            found[_behind_activation(node.outputs[0])] = outputs[node]
        elif node.op_type == "Add" and first in found and node.inputs[1] in found:
            found[node.outputs[0]] = found[first]
    return {value: count for value, count in found.items() if not value.is_graph_output()}


def _behind_activation(value: ir.Value) -> ir.Value:
    uses = list(value.uses())
    activated = len(uses) == 1 and uses[0].node.op_type in ("Relu", "Clip")
    return uses[0].node.outputs[0] if activated else value


def layers_of(graph: ir.Graph) -> list[Layer]:
    """All layers that have a weight, in the graph's order."""
    return [layer for node in graph if (layer := _layer(node)) is not None]


def _layer(node: ir.Node) -> Layer | None:
    if node.op_type not in ("Conv", "MatMul", "Gemm"):
        return None
    value, weight = node.inputs[0], node.inputs[1]
    if value is None or weight is None or weight.const_value is None or value.const_value is not None:
        return None
    if node.op_type == "Conv":
        return Layer(node, channel_axis=1, output_axis=0)
    if len(weight.const_value.shape) != 2 or integer_of(node, "transA", 0):
        return None  # an attention's constant keys are no weight
    return Layer(node, channel_axis=-1, output_axis=0 if integer_of(node, "transB", 0) else 1)


def integer_of(node: ir.Node, attribute: str, default: int) -> int:
    return node.attributes[attribute].as_int() if attribute in node.attributes else default


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
