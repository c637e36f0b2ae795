"""The magnitude that becomes the last step."""

from __future__ import annotations

import numpy as np
import pytest

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.threshold import (
    LEVELS,
    METHODS,
    UNSIGNED_LEVELS,
    absmax,
    entropy,
    mse,
    percentile,
)


def statistics(values: np.ndarray) -> TensorStatistics:
    actual = TensorStatistics.empty(1)
    actual.update(values.reshape(-1, 1).astype(np.float32), -1, "x")
    return actual


def rounding_error(values: np.ndarray, threshold: float, levels: int = LEVELS) -> float:
    step = threshold / levels
    return float(np.mean((np.clip(np.round(values / step), -levels, levels) * step - values) ** 2))


@pytest.fixture(scope="module")
def outliers() -> np.ndarray:
    """A normal distribution with a few values that are sixty times as large."""
    values = np.random.default_rng(0).normal(size=100_000)
    values[:5] = 60
    return values


def test_absmax_clips_nothing(outliers: np.ndarray) -> None:
    assert absmax(statistics(outliers)) == 60


def test_percentile_leaves_out_that_share(outliers: np.ndarray) -> None:
    actual = percentile(statistics(outliers))
    assert (np.abs(outliers) > actual).mean() <= 1e-4 + 1e-5
    assert actual < 5


@pytest.mark.parametrize("levels", [LEVELS, UNSIGNED_LEVELS])
@pytest.mark.parametrize("spread", ["normal", "outliers", "laplace", "uniform"])
def test_mse_is_close_to_the_best_threshold_there_is(spread: str, levels: int, outliers: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    values = {
        "normal": rng.normal(size=100_000),
        "outliers": outliers,
        "laplace": rng.laplace(size=100_000),
        "uniform": rng.uniform(-3, 3, size=100_000),
    }[spread]
    actual = rounding_error(values, mse(statistics(values), levels), levels)
    largest = float(np.abs(values).max())
    best = min(rounding_error(values, largest * i / 400, levels) for i in range(20, 401))
    assert actual <= 1.1 * best


def test_entropy_clips_outliers_and_keeps_what_is_even(outliers: np.ndarray) -> None:
    assert entropy(statistics(outliers)) < 20
    even = np.random.default_rng(2).uniform(0, 3, size=100_000)
    assert entropy(statistics(even)) > 2.8


def test_entropy_does_not_count_the_zeros_behind_a_relu() -> None:
    passed = np.abs(np.random.default_rng(2).normal(size=20_000))
    mostly_zeros = np.concatenate([passed, np.zeros(200_000)])
    assert entropy(statistics(mostly_zeros)) == pytest.approx(entropy(statistics(passed)), rel=0.05)


def test_finer_steps_clip_less() -> None:
    values = statistics(np.random.default_rng(4).laplace(size=100_000))
    assert mse(values, UNSIGNED_LEVELS) > 1.1 * mse(values, LEVELS)


def test_every_name_is_its_method() -> None:
    assert {"absmax": absmax, "percentile": percentile, "entropy": entropy, "mse": mse} == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_zeros_have_a_threshold_of_zero(method: str) -> None:
    assert METHODS[method](statistics(np.zeros(10)), LEVELS) == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [1e-20, 0.7, 3e4])
def test_one_value_alone_is_kept(method: str, value: float) -> None:
    actual = METHODS[method](statistics(np.full(100, value)), LEVELS)
    assert 0.98 * value <= actual <= 1.000001 * value


@pytest.mark.parametrize("method", METHODS)
def test_no_threshold_is_above_the_largest_value(method: str) -> None:
    values = np.random.default_rng(3).normal(size=1000)
    assert METHODS[method](statistics(values), LEVELS) <= np.abs(values).max() + 1e-6
