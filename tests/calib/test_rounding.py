"""Weights are rounded so that the sums of kernels and filters hold."""

from __future__ import annotations

import numpy as np
import pytest

from glesam_calib.quantization.qdq import quantized_weight, weight_scales
from glesam_calib.quantization.rounding import rounded


def test_a_filters_sum_is_off_by_half_a_step_at_most_and_no_weight_by_more_than_one() -> None:
    steps = np.random.default_rng(0).uniform(-127, 127, (40, 16, 3, 3))
    whole = rounded(steps)
    assert (whole == np.round(whole)).all()
    assert np.abs(whole - steps).max() <= 1
    assert np.abs((whole - steps).sum((1, 2, 3))).max() <= 0.5 + 1e-9
    assert np.abs((whole - steps).sum((2, 3))).max() <= 1.5 + 1e-9
    nearest = np.round(steps) - steps
    assert np.abs(nearest.sum((1, 2, 3))).max() > 5  # the test would see it


def test_only_as_many_weights_change_as_the_sums_need() -> None:
    steps = np.random.default_rng(1).uniform(-127, 127, (64, 1, 3, 3))
    changed = (rounded(steps) != np.round(steps)).sum((1, 2, 3))
    needed = np.abs(np.round((np.round(steps) - steps).sum((1, 2, 3))))
    assert changed.tolist() == needed.tolist()


def test_an_edge_filter_answers_nothing_on_even_ground() -> None:
    """Large weights of both signs, as in a first layer: rounded one by one they answer the ground's value."""
    rng = np.random.default_rng(2)
    filters = rng.normal(size=(200, 3, 3, 3))
    filters -= filters.mean((1, 2, 3), keepdims=True)
    steps = 127 * filters / np.abs(filters).max((1, 2, 3), keepdims=True)
    answers = [np.abs(whole.sum((1, 2, 3))).mean() for whole in (np.round(steps), rounded(steps))]
    assert answers[0] > 1
    assert answers[1] < 1e-9


@pytest.mark.parametrize(("shape", "axis"), [((24, 16, 2, 2), 1), ((4, 24, 16), 2)])
def test_what_is_no_convolution_is_rounded_to_the_nearest(shape: tuple[int, ...], axis: int) -> None:
    """A ConvTranspose [I, O, ...], and a product by heads [heads, I, O]: their sums are of no filter."""
    weight = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    scales = weight_scales(weight, axis, np.float32)
    steps = weight / scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    assert np.abs(quantized_weight(weight, scales, axis) - steps).max() <= 0.5


@pytest.mark.parametrize("shape", [(8, 16), (8, 16, 1, 1)])
def test_what_reads_no_neighbours_is_rounded_to_the_nearest(shape: tuple[int, ...]) -> None:
    steps = np.random.default_rng(3).uniform(-127, 127, shape)
    assert (rounded(steps) == np.round(steps)).all()
