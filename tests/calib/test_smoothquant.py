"""SmoothQuant: the same function, easier to quantize."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from small_graph import NAMES, constants, observed, relative_error, run, small_graph, tokens

from glesam_calib import Quantization
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import quantize
from glesam_calib.quantization.smoothquant import estimated_error, smooth, smoothing_scales


def chosen(model: ir.Model, *names: str) -> list:
    return [layer for layer in layers_of(model.graph) if layer.name in names]


def test_the_function_is_the_same_in_float64() -> None:
    statistics = observed(small_graph())
    before, after = small_graph(np.float64), small_graph(np.float64)
    (done,), _ = smooth(chosen(after, *NAMES), statistics)
    assert done.tensor == "normed"
    assert done.gain < 0.9
    assert np.abs(constants(after)["norm_weight"] - constants(before)["norm_weight"]).max() > 0.1
    x = tokens(5, np.float64)
    assert relative_error(run(after, x)[0], run(before, x)[0]) < 1e-13


def test_the_statistics_are_those_of_the_smoothed_tensor() -> None:
    model = small_graph()
    _, after = smooth(chosen(model, *NAMES), observed(model))
    seen = observed(model)["normed"]
    for kind in ("channel_absmax", "channel_mean", "channel_square"):
        np.testing.assert_allclose(getattr(after["normed"], kind), getattr(seen, kind), rtol=1e-4, atol=1e-6)


def test_it_helps() -> None:
    """Loud channels of the norm take the others' levels away."""
    expected = run(small_graph(), tokens(7))[0]
    errors = {}
    for smoothing in (False, True):
        model = small_graph()
        options = Quantization("absmax", high_precision="fp32", smoothing=smoothing, bias_correction=False)
        quantize(model.graph, observed(small_graph()), options)
        errors[smoothing] = relative_error(run(model, tokens(7))[0], expected)
    assert errors[True] < 0.7 * errors[False]


def test_a_norm_that_something_else_reads_is_left_alone() -> None:
    model = small_graph()
    assert smooth(chosen(model, NAMES[0], NAMES[1]), observed(model))[0] == []


def test_scales_of_zeros_are_one() -> None:
    scales = smoothing_scales(np.array([0.0, 4.0, 9.0]), np.array([1.0, 0.0, 4.0]), 0.5)
    assert scales.tolist() == [1, 1, 1.5]


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_the_estimate_is_the_error_that_is_measured(alpha: float) -> None:
    """Within a third: it takes rounding for noise that is even and independent."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(size=64))
    x, weight = rng.normal(size=(4000, 64)) * sizes, rng.normal(size=(64, 32))
    model = small_graph()
    statistics = observed(model)["normed"]
    statistics.channel_absmax, statistics.channel_square = np.abs(x).max(0), (x**2).mean(0)
    scales = smoothing_scales(statistics.channel_absmax, np.abs(weight).max(1), alpha)
    a, b = x / scales, weight * scales[:, None]
    step, steps = np.abs(a).max() / 127, np.abs(b).max(0) / 127
    rounded = (np.round(a / step) * step) @ (np.round(b / steps) * steps)
    measured = ((rounded - x @ weight) ** 2).sum(1).mean()
    assert estimated_error(statistics, scales, [weight]) == pytest.approx(measured, rel=0.33)
