"""A float graph and its statistics -> a graph whose heavy layers are int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from glesam_calib.bias_correction import correct_biases
from glesam_calib.layers import Policy, layers_of
from glesam_calib.qdq import insert_qdq
from glesam_calib.smoothquant import Smoothing, smooth
from glesam_calib.statistics import TensorStatistics
from glesam_calib.threshold import METHODS

SCALE_TYPES: dict[str, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32, "bf16": np.float32}
"""High precision -> the type in which scales are stored. bf16's eight bits are too few for a scale."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize; the defaults are those that docs/int8.md finds best."""

    method: str = "mse"
    policy: Policy = field(default_factory=Policy)
    high_precision: str = "fp16"
    smoothing: bool = True
    bias_correction: bool = True


@dataclass(frozen=True)
class Quantized:
    """What was done to one graph: its int8 layers by name, and the layers that could have been."""

    layers: Sequence[str]
    left: Sequence[str]
    smoothed: Sequence[Smoothing]

    def __str__(self) -> str:
        smoothed = f", {len(self.smoothed)} norms smoothed" if self.smoothed else ""
        return f"{len(self.layers)} layers in int8, {len(self.left)} left{smoothed}"


def quantize(graph: ir.Graph, statistics: Mapping[str, TensorStatistics], options: Quantization) -> Quantized:
    """In place: smoothing, bias correction, Q/DQ. What is left stays fp32."""
    layers = layers_of(graph)
    chosen = options.policy.choose(layers)
    taken = [layer.name for layer in chosen]
    left = [layer.name for layer in layers if layer.name not in set(taken)]
    if not chosen:
        return Quantized(taken, left, ())
    scale_type = SCALE_TYPES[options.high_precision]
    smoothed, known = smooth(chosen, statistics) if options.smoothing else ([], dict(statistics))
    if options.bias_correction:
        correct_biases(chosen, known, scale_type)
    unknown = {smoothing.tensor for smoothing in smoothed}
    amax = {
        str(layer.input.name): METHODS["absmax" if layer.input.name in unknown else options.method](
            known[str(layer.input.name)]
        )
        for layer in chosen
    }
    insert_qdq(graph, chosen, amax, scale_type)
    return Quantized(taken, left, smoothed)
