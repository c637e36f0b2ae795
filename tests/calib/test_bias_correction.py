"""Bias correction: the mean of a layer's answer is what it was."""

from __future__ import annotations

import numpy as np
import pytest
from small_graph import NAMES, constants, observed, small_graph

from glesam_calib.quantization.bias_correction import correct_biases, mean_shift
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.qdq import quantized_weight, weight_scales


def restored(weight: np.ndarray, axis: int) -> np.ndarray:
    scales = weight_scales(weight, axis, np.float32)
    along = scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    return quantized_weight(weight, scales, axis).astype(np.float64) * along


def test_a_products_mean_is_kept() -> None:
    model = small_graph()
    statistics, before = observed(model), dict(constants(model))
    layers = [layer for layer in layers_of(model.graph) if layer.name == NAMES[3]]
    assert correct_biases(layers, statistics, np.float32) == 1
    mean = statistics["attended"].channel_mean
    expected = mean @ before["out"] + before["out_bias"]
    actual = mean @ restored(before["out"], 1) + constants(model)["out_bias"]
    uncorrected = mean @ restored(before["out"], 1) + before["out_bias"]
    assert np.abs(actual - expected).max() < 1e-6
    assert np.abs(uncorrected - expected).max() > 1e-5


@pytest.mark.parametrize(("name", "weight"), [(NAMES[4], "conv"), (NAMES[5], "grouped")])
def test_a_convolutions_shift_is_that_of_a_picture_of_means(name: str, weight: str) -> None:
    """A picture that is its channels' means everywhere, away from the border."""
    model = small_graph()
    (layer,) = [layer for layer in layers_of(model.graph) if layer.name == name]
    channels = 16 if weight == "conv" else 8
    mean = np.random.default_rng(0).normal(size=channels)
    kernel = constants(model)[weight]
    error = restored(kernel, 0) - kernel
    per_group = len(kernel) * kernel.shape[1] // channels
    expected = [
        sum(error[o, i].sum() * mean[o // per_group * kernel.shape[1] + i] for i in range(kernel.shape[1]))
        for o in range(len(kernel))
    ]
    np.testing.assert_allclose(mean_shift(layer, mean, np.float32), expected, atol=1e-6)


def test_a_layer_without_a_bias_of_its_own_is_left_alone() -> None:
    model = small_graph()
    layers = [layer for layer in layers_of(model.graph) if layer.name in (NAMES[0], NAMES[6])]
    before = dict(constants(model))
    assert correct_biases(layers, observed(model), np.float32) == 0
    assert all((before[name] == array).all() for name, array in constants(model).items())
