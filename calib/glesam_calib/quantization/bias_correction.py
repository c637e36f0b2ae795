"""Bias correction (Nagel et al., "Data-Free Quantization", ICCV 2019): undoes the shift of rounded weights.

    b' = b - (W' - W) E[x]

E[x] are the calibrated means of the input's channels; a convolution's window counts as filled with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.quantization.layers import Layer
from glesam_calib.quantization.qdq import weight_error
from glesam_runtime.tools.progress import Track, untracked


def correct_biases(
    layers: Sequence[Layer],
    statistics: Mapping[str, TensorStatistics],
    scale_type: type[np.floating],
    track: Track = untracked,
) -> int:
    """Corrects every layer with a constant bias of its own, in place, before Q/DQ. Returns their number."""
    corrected = 0
    for layer in track(layers, len(layers), "biases corrected"):
        bias = _bias(layer)
        if bias is None:
            continue
        assert bias.const_value is not None
        array = bias.const_value.numpy()
        shift = mean_shift(layer, statistics[str(layer.input.name)].channel_mean, scale_type)
        bias.const_value = ir.Tensor((array - shift.reshape(array.shape)).astype(array.dtype), name=bias.name)
        corrected += 1
    return corrected


def mean_shift(
    layer: Layer, channel_mean: NDArray[np.float64], scale_type: type[np.floating]
) -> NDArray[np.float64]:
    """Returns (W' - W) E[x], one value per output channel."""
    error = weight_error(layer, scale_type).astype(np.float64)
    if layer.node.op_type != "Conv":
        shift: NDArray[np.float64] = channel_mean @ (error if layer.output_axis == 1 else error.T)
        return shift
    per_input = error.sum(axis=tuple(range(2, error.ndim)))  # [outputs, inputs of a group]
    groups = len(channel_mean) // per_input.shape[1]
    means = channel_mean.reshape(groups, 1, -1)
    shift = (per_input.reshape(groups, -1, per_input.shape[1]) * means).sum(-1).ravel()
    return shift


def _bias(layer: Layer) -> ir.Value | None:
    """The constant that is added to the layer's output and to nothing else."""
    node = layer.node
    if any(name in node.attributes and node.attributes[name].as_float() != 1 for name in ("alpha", "beta")):
        return None
    if node.op_type == "MatMul":
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or uses[0].node.op_type != "Add":
            return None
        candidates = [value for value in uses[0].node.inputs if value is not node.outputs[0]]
    else:
        candidates = list(node.inputs[2:3])
    bias = candidates[0] if candidates else None
    if bias is None or bias.const_value is None or len(bias.uses()) != 1:
        return None
    outputs = layer.weight_shape[layer.output_axis]
    shape = tuple(bias.const_value.shape)
    return bias if shape and shape[-1] == outputs == bias.const_value.size else None
