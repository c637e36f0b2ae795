"""What calibration keeps of a tensor."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from glesam_calib import CalibrationError
from glesam_calib.observation.statistics import TensorStatistics


def test_parts_make_the_same_statistics_as_the_whole() -> None:
    values = np.random.default_rng(0).normal(2, 5, size=(6, 3, 4, 4)).astype(np.float32)
    whole, parts = TensorStatistics.empty(3), TensorStatistics.empty(3)
    whole.update(values, 1, "x")
    for part in values:
        parts.update(part[None], 1, "x")
    channels = np.moveaxis(values, 1, -1).reshape(-1, 3).astype(np.float64)
    for actual in (whole, parts):
        assert actual.count == len(channels)
        np.testing.assert_allclose(actual.channel_mean, channels.mean(0), rtol=1e-5)
        np.testing.assert_allclose(actual.channel_square, (channels**2).mean(0), rtol=1e-5)
        assert (actual.channel_absmax == np.abs(channels).max(0)).all()
    assert (whole.histogram.counts == parts.histogram.counts).all()


def test_the_channels_of_a_matmul_are_last() -> None:
    actual = TensorStatistics.empty(2)
    actual.update(np.array([[[1, -5], [2, 3]]], np.float32), -1, "x")
    assert actual.channel_absmax.tolist() == [2, 5]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_an_error_that_names_the_tensor(bad: float) -> None:
    with pytest.raises(CalibrationError, match=r"gle: x of a.jpg is NaN or infinite"):
        TensorStatistics.empty(1).update(np.array([[1, bad]], np.float32).T, -1, "gle: x of a.jpg")


def test_a_constant_tensor_of_zeros_has_statistics() -> None:
    actual = TensorStatistics.empty(2)
    actual.update(np.zeros((1, 5, 2), np.float32), -1, "x")
    assert actual.absmax == 0
    assert TensorStatistics.from_json(actual.to_json()).histogram.exponent is None


def test_json_keeps_them() -> None:
    actual = TensorStatistics.empty(4)
    actual.update(np.random.default_rng(1).normal(size=(1, 9, 4)).astype(np.float32), -1, "x")
    again = TensorStatistics.from_json(json.loads(json.dumps(actual.to_json())))
    assert (again.histogram.counts == actual.histogram.counts).all()
    assert again.histogram.exponent == actual.histogram.exponent
    np.testing.assert_allclose(again.channel_mean, actual.channel_mean, rtol=1e-6)
    assert again.count == actual.count


@pytest.mark.parametrize(
    "damage",
    [
        {"histogram": [-1]},
        {"histogram": [1] * 5000},
        {"channel_mean": [float("nan")] * 4},
        {"channel_mean": [0.0]},
        {"exponent": "three"},
        {"count": None},
    ],
)
def test_json_that_is_none_of_ours_is_refused(damage: dict[str, Any]) -> None:
    record = TensorStatistics.empty(4).to_json()
    with pytest.raises((ValueError, TypeError, KeyError)):
        TensorStatistics.from_json(record | damage)
