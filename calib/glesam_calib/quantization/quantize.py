"""A float graph and its statistics -> a graph whose heavy layers are int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.threshold import METHODS
from glesam_calib.quantization.bias_correction import correct_biases
from glesam_calib.quantization.layers import Layer, Policy, layers_of
from glesam_calib.quantization.qdq import insert_qdq
from glesam_calib.quantization.smoothquant import Smoothing, smooth

SCALE_TYPES: dict[str, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32, "bf16": np.float32}
"""High precision -> the type in which scales are stored. bf16's eight bits are too few for a scale."""


TOLERANCE = 0.003
"""Of a graph's answer."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize; the defaults are those that docs/int8.md finds best.

    `tolerance`: a layer that alone costs more of the graph's answer stays in float, where it was measured.
    `decoder_weights_in_int8`: the mask decoder computes in float all the same.
    """

    method: str = "mse"
    policy: Policy = field(default_factory=Policy)
    high_precision: str = "fp16"
    tolerance: float = TOLERANCE
    decoder_weights_in_int8: bool = True
    smoothing: bool = True
    bias_correction: bool = True

    def affords(self, layer: str, errors: Mapping[str, float]) -> bool:
        """Whether a layer costs no more than `tolerance` alone, or the policy insists on it."""
        return self.policy.insists_on(layer) or errors.get(layer, 0.0) <= self.tolerance


@dataclass(frozen=True)
class Quantized:
    """What was done to one graph: its int8 layers by name, and the layers that could have been."""

    layers: Sequence[str]
    left: Sequence[str]
    smoothed: Sequence[Smoothing]

    def __str__(self) -> str:
        smoothed = f", {len(self.smoothed)} norms smoothed" if self.smoothed else ""
        return f"{len(self.layers)} layers in int8, {len(self.left)} left{smoothed}"


def quantize(
    graph: ir.Graph,
    statistics: Mapping[str, TensorStatistics],
    options: Quantization,
    sensitivity: Mapping[str, float] | None = None,
) -> Quantized:
    """In place: smoothing, bias correction, Q/DQ of the layers that policy and `sensitivity` allow.

    What is left stays fp32.
    """
    layers = layers_of(graph)
    errors = sensitivity or {}
    chosen = [layer for layer in options.policy.choose(layers) if options.affords(layer.name, errors)]
    taken = {layer.name for layer in chosen}
    smoothed = quantize_layers(graph, chosen, statistics, options)
    left = [layer.name for layer in layers if layer.name not in taken]
    return Quantized([layer.name for layer in chosen], left, smoothed)


def quantize_layers(
    graph: ir.Graph,
    chosen: Sequence[Layer],
    statistics: Mapping[str, TensorStatistics],
    options: Quantization,
) -> list[Smoothing]:
    """In place, these layers and no others. Returns what was smoothed."""
    if not chosen:
        return []
    scale_type = SCALE_TYPES[options.high_precision]
    smoothed, known = smooth(chosen, statistics) if options.smoothing else ([], dict(statistics))
    if options.bias_correction:
        correct_biases(chosen, known, scale_type)
    # A smoothed tensor's histogram is not known.
    methods = dict.fromkeys((smoothing.tensor for smoothing in smoothed), "absmax")
    tensors = {str(layer.input.name) for layer in chosen}
    amax = {name: METHODS[methods.get(name, options.method)](known[name]) for name in tensors}
    insert_qdq(graph, chosen, amax, scale_type)
    return smoothed
