"""Metrics against masks small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from glesam.evaluation.metrics import (
    METRICS,
    boundary,
    boundary_iou,
    dice,
    iou,
    multimask_ious,
    pixel_accuracy,
)

Metric = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]


def rectangle(rows: slice, columns: slice, shape: tuple[int, int] = (10, 20)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


TRUTH = rectangle(slice(2, 6), slice(0, 10))  # 40 px
SHIFTED = rectangle(slice(2, 6), slice(5, 15))  # 40 px, 20 of them shared
NOTHING = np.zeros((10, 20), bool)


def test_half_a_shift_counted_by_hand() -> None:
    assert iou(SHIFTED, TRUTH) == 20 / 60
    assert dice(SHIFTED, TRUTH) == 40 / 80
    assert pixel_accuracy(SHIFTED, TRUTH) == 160 / 200


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_truth_itself_scores_one_and_its_opposite_zero(metric: Metric) -> None:
    assert metric(TRUTH, TRUTH) == 1
    assert metric(~TRUTH, TRUTH) == 0


@pytest.mark.parametrize("metric", [iou, dice, boundary_iou])
def test_an_empty_mask_scores_nothing(metric: Metric) -> None:
    assert metric(NOTHING, TRUTH) == 0


@pytest.mark.parametrize(("predicted", "chosen"), [([0.1, 0.9, 0.3], 20 / 60), ([0.9, 0.1, 0.3], 0)])
def test_the_best_of_three_is_an_oracle_and_the_chosen_one_is_predicted(
    predicted: list[float], chosen: float
) -> None:
    candidates = np.stack([NOTHING, SHIFTED, TRUTH])
    expected = {"best_of_three": 1, "chosen": chosen}
    assert multimask_ious(candidates, np.array(predicted), TRUTH) == expected


def test_accuracy_alone_rewards_an_empty_mask_for_background() -> None:
    assert pixel_accuracy(NOTHING, TRUTH) == 160 / 200


def test_a_boundary_is_the_mask_without_its_core() -> None:
    """100 x 100 has a diagonal of 141 px, 2 % of which are 3."""
    square = rectangle(slice(20, 60), slice(30, 80), (100, 100))
    core = rectangle(slice(23, 57), slice(33, 77), (100, 100))
    assert np.array_equal(boundary(square), square & ~core)


def test_the_pictures_edge_is_a_boundary_too() -> None:
    everything = np.ones((100, 100), bool)
    core = rectangle(slice(3, 97), slice(3, 97), (100, 100))
    assert np.array_equal(boundary(everything), ~core)


def test_a_small_picture_has_a_boundary_of_one_pixel() -> None:
    square = rectangle(slice(1, 6), slice(1, 6), (8, 8))
    assert boundary(square).sum() == 16


def test_boundary_iou_counted_by_hand() -> None:
    """Two 5 x 5 squares, one px apart: rings of 16 px that share 4 px of the upper and of the lower row."""
    truth = rectangle(slice(1, 6), slice(1, 6), (8, 8))
    actual = rectangle(slice(1, 6), slice(2, 7), (8, 8))
    assert boundary_iou(actual, truth) == 8 / 24
    assert iou(actual, truth) == 20 / 30


def test_boundary_iou_sees_a_ragged_contour_that_iou_hardly_does() -> None:
    truth = rectangle(slice(20, 180), slice(20, 180), (200, 200))
    ragged = truth.copy()
    ragged[20:26, 20:180:2] = False
    assert iou(ragged, truth) > 0.97
    assert boundary_iou(ragged, truth) < 0.9
