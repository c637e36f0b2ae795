"""SmoothQuant (Xiao et al., ICML 2023): moves large magnitudes from activations into weights, exactly.

Behind a LayerNorm, channel j of an activation X is divided by s_j and row j of the weight W multiplied by
it: (X / s)(s W) = X W. The division goes into the norm's own weight and bias, so no node is added.

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.threshold import LEVELS
from glesam_calib.quantization.layers import Layer, integer_of
from glesam_runtime.tools.progress import Track, untracked

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_GAIN = 0.9
"""Largest ratio of estimated errors, after over before, at which smoothing is worth it."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """What was done to the layers that read one norm; `gain` is the estimated error after over before."""

    tensor: str
    alpha: float
    gain: float


def smooth(
    layers: Sequence[Layer], statistics: Mapping[str, TensorStatistics], track: Track = untracked
) -> tuple[list[Smoothing], dict[str, TensorStatistics]]:
    """Smooths every norm, in place, that only MatMuls of `layers` read and that smoothing promises to help.

    Returns:
        What was done, and the statistics after it. A smoothed tensor's histogram is unknown: its threshold
        is its largest magnitude.
    """
    done, after = [], dict(statistics)
    norms = _norms(layers)
    for norm, readers in track(norms.items(), len(norms), "norms smoothed"):
        tensor = str(norm.outputs[0].name)
        weights = [_matrix(layer) for layer in readers]
        best, alpha, gain = _best(statistics[tensor], weights)
        if not gain <= LEAST_GAIN:  # NaN is no gain
            continue
        for parameter in norm.inputs[1:]:
            if parameter is not None:
                _scale(norm, parameter, 1 / best)
        for layer in readers:
            _scale(layer.node, layer.weight, best if layer.output_axis == 0 else best[:, None])
        done.append(Smoothing(tensor, alpha, gain))
        after[tensor] = _smoothed(statistics[tensor], best)
    return done, after


def smoothing_scales(activations: Vector, weights: Vector, alpha: float) -> Vector:
    """s of the equation above, from the largest magnitude of each channel and of each row.

    A channel or a row of zeros keeps its scale.
    """
    scales = activations**alpha / np.where(weights > 0, weights, 1) ** (1 - alpha)
    return np.where((scales > 0) & (weights > 0), scales, 1.0)


def estimated_error(statistics: TensorStatistics, scales: Vector, weights: Sequence[Vector]) -> float:
    """Mean squared error of X W after both are rounded, summed over outputs; rounding is step^2 / 12 each.

    Activations contribute their step^2 times the sum of W^2, weights each output's step^2 times the sum of
    E[x^2].
    """
    step = float((statistics.channel_absmax / scales).max()) / LEVELS
    power = float((statistics.channel_square / scales**2).sum())
    error = 0.0
    for weight in weights:
        scaled = weight * scales[:, None]
        steps = np.abs(scaled).max(0) / LEVELS
        error += step**2 * float((scaled**2).sum()) + power * float((steps**2).sum())
    return error / 12


def _best(statistics: TensorStatistics, weights: Sequence[Vector]) -> tuple[Vector, float, float]:
    """The best scales, their alpha, and the estimated error after over before."""
    rows = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    before = estimated_error(statistics, np.ones_like(rows), weights)
    options = []
    for alpha in ALPHAS:
        scales = smoothing_scales(statistics.channel_absmax, rows, alpha)
        options.append((estimated_error(statistics, scales, weights), alpha, scales))
    error, alpha, scales = min(options, key=lambda option: option[0])
    return scales, alpha, error / before if before else 1.0


def _norms(layers: Sequence[Layer]) -> dict[ir.Node, list[Layer]]:
    """The LayerNormalizations over channels whose output only MatMuls of `layers` read, with these layers."""
    chosen = {layer.node: layer for layer in layers if layer.node.op_type == "MatMul"}
    norms: dict[ir.Node, list[Layer]] = {}
    for layer in chosen.values():
        norm = layer.input.producer()
        if norm is None or norm.op_type != "LayerNormalization" or norm in norms:
            continue
        value = norm.outputs[0]
        parameters = [p for p in norm.inputs[1:] if p is not None]
        alone = all(len(p.uses()) == 1 and p.const_value is not None for p in parameters)
        over_channels = integer_of(norm, "axis", -1) in (-1, len(value.shape or ()) - 1)
        readers = [use.node for use in value.uses()]
        if alone and over_channels and not value.is_graph_output() and all(n in chosen for n in readers):
            norms[norm] = [chosen[node] for node in readers]
    return norms


def _scale(node: ir.Node, parameter: ir.Value, factor: Vector) -> None:
    """Multiplies one node's constant; other nodes that share it keep the old one."""
    assert parameter.const_value is not None and node.graph is not None
    array = parameter.const_value.numpy()
    scaled = (array.astype(np.float64) * factor).astype(array.dtype)
    if len(parameter.uses()) == 1:
        parameter.const_value = ir.Tensor(scaled, name=parameter.name)
        return
    name = f"{parameter.name}_of_{node.name}"
    tensor = ir.Tensor(scaled, name=name)
    value = ir.Value(name=name, shape=parameter.shape, type=parameter.type, const_value=tensor)
    node.graph.register_initializer(value)
    node.replace_input_with(list(node.inputs).index(parameter), value)


def _matrix(layer: Layer) -> Vector:
    """The layer's weight as [inputs, outputs]."""
    assert layer.weight.const_value is not None
    weight: Vector = layer.weight.const_value.numpy().astype(np.float64)
    return weight if layer.output_axis == 1 else weight.T


def _smoothed(statistics: TensorStatistics, scales: Vector) -> TensorStatistics:
    return replace(
        statistics,
        channel_absmax=statistics.channel_absmax / scales,
        channel_mean=statistics.channel_mean / scales,
        channel_square=statistics.channel_square / scales**2,
    )
