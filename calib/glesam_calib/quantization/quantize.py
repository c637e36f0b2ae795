"""Turns a float graph and its statistics into a graph whose expensive layers are int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.threshold import METHODS
from glesam_calib.quantization.bias_correction import correct_biases
from glesam_calib.quantization.layers import Layer, Policy, answers_of, layers_of
from glesam_calib.quantization.qdq import insert_qdq, levels_of
from glesam_calib.quantization.smoothquant import Smoothing, smooth
from glesam_calib.quantization.targets import ANY, TARGETS
from glesam_runtime.errors import CalibrationError
from glesam_runtime.tools.progress import Track, untracked

SCALE_TYPES: dict[str, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32, "bf16": np.float32}
"""The type of the scales for each high precision. bf16's eight bits are too few for a scale."""
TOLERANCE = 0.005
"""Largest cost of an int8 layer, by default."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize; docs/int8.md compares the defaults with others.

    Attributes:
        method: how thresholds are chosen, one of `METHODS`.
        high_precision: what the rest computes in: fp16, bf16 or fp32.
        target: the runtime that the pairs are for, one of `TARGETS`.
        tolerance: largest cost of an int8 layer; one that was measured to cost more stays in float. A layer
            costs the relative error of its graph's answer where it alone is int8; for a target whose layers
            are timed, that error is weighted by the time it saves (`layer_times.weighted`).
        decoder_weights_in_int8: whether the mask decoder's weights are stored in int8; it computes in float.
    """

    method: str = "mse"
    policy: Policy = field(default_factory=Policy)
    high_precision: str = "fp16"
    target: str = ANY
    tolerance: float = TOLERANCE
    decoder_weights_in_int8: bool = True
    smoothing: bool = True
    bias_correction: bool = True

    @property
    def scale_type(self) -> type[np.floating]:
        """The type that the scales of int8 layers are rounded to."""
        return SCALE_TYPES[self.high_precision] if TARGETS[self.target].half_scales else np.float32

    def affords(self, layer: str, errors: Mapping[str, float]) -> bool:
        """Whether the policy takes a layer that costs no more than `tolerance` alone, or insists on it."""
        if self.policy.insists_on(layer):
            return self.policy.takes(layer)
        return self.policy.takes(layer, layer in errors) and errors.get(layer, 0.0) <= self.tolerance


@dataclass(frozen=True)
class Quantized:
    """What was done to one graph.

    Attributes:
        layers: names of the int8 layers.
        left: names of the layers that could be int8 and stay in float.
        smoothed: the norms that SmoothQuant changed.
        target: the runtime that the pairs are for.
    """

    layers: Sequence[str]
    left: Sequence[str]
    smoothed: Sequence[Smoothing]
    target: str = ANY

    def __str__(self) -> str:
        smoothed = f", {len(self.smoothed)} norms smoothed" if self.smoothed else ""
        return f"{len(self.layers)} layers in int8, {len(self.left)} left{smoothed}"


def quantize(
    graph: ir.Graph,
    statistics: Mapping[str, TensorStatistics],
    options: Quantization,
    sensitivity: Mapping[str, float] | None = None,
    track: Track = untracked,
) -> Quantized:
    """Smooths, corrects biases and inserts Q/DQ in place, for the layers that policy and `sensitivity` allow.

    The rest stays fp32.
    """
    layers = layers_of(graph)
    errors = sensitivity or {}
    chosen = [layer for layer in layers if options.affords(layer.name, errors)]
    taken = {layer.name for layer in chosen}
    smoothed = quantize_layers(graph, chosen, statistics, options, track)
    left = [layer.name for layer in layers if layer.name not in taken]
    return Quantized([layer.name for layer in chosen], left, smoothed, options.target)


def quantize_layers(
    graph: ir.Graph,
    chosen: Sequence[Layer],
    statistics: Mapping[str, TensorStatistics],
    options: Quantization,
    track: Track = untracked,
) -> list[Smoothing]:
    """Quantizes these layers and no others, in place. Returns what was smoothed.

    Raises CalibrationError where the statistics lack a tensor that the target quantizes.
    """
    if not chosen:
        return []
    scale_type, target = options.scale_type, TARGETS[options.target]
    smoothed, known = smooth(chosen, statistics, track) if options.smoothing else ([], dict(statistics))
    if options.bias_correction:
        correct_biases(chosen, known, scale_type, track)
    # The histogram of a smoothed tensor is unknown.
    methods = dict.fromkeys((smoothing.tensor for smoothing in smoothed), "absmax")
    answers = answers_of(graph, chosen) if target.answers else ()
    levels = {str(x.name): levels_of(x, target) for x in (*(layer.input for layer in chosen), *answers)}
    if not levels.keys() <= known.keys():
        raise CalibrationError(
            f"calibration table: it lacks what {options.target} quantizes beyond other targets, as those of "
            "earlier versions do; run glesam-calibrate again, or give --calib-images"
        )
    amax = {
        name: METHODS[methods.get(name, options.method)](known[name], count) for name, count in levels.items()
    }
    insert_qdq(graph, chosen, amax, scale_type, target)
    return smoothed
