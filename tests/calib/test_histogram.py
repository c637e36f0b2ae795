"""The histogram that grows with what it sees."""

from __future__ import annotations

import numpy as np
import pytest

from glesam_calib.observation.histogram import BINS, Histogram


def histogram(*parts: np.ndarray) -> Histogram:
    actual = Histogram()
    for part in parts:
        actual.update(np.abs(part))
    return actual


def test_counts_do_not_depend_on_the_order_of_what_it_sees() -> None:
    rng = np.random.default_rng(0)
    parts = [scale * rng.normal(size=1000) for scale in (0.01, 50, 1, 3000, 0.2)]
    one, other = histogram(*parts), histogram(*reversed(parts))
    assert one.exponent == other.exponent
    # Doubling merges pairs of bins: a value's last bin is its bin in the last range.
    assert (one.counts == other.counts).all()
    assert (one.counts == histogram(np.concatenate(parts)).counts).all()


def test_the_range_is_the_power_of_two_above_the_largest_value() -> None:
    actual = histogram(np.array([0.3, 5.0]))
    assert actual.exponent == 3
    assert actual.width == 8 / BINS
    assert np.flatnonzero(actual.counts).tolist() == [int(0.3 / actual.width), int(5 / actual.width)]


def test_a_value_at_the_edge_is_counted() -> None:
    actual = histogram(np.array([4.0]), np.array([np.nextafter(np.float32(4), np.float32(0))]))
    assert actual.counts.sum() == 2


@pytest.mark.parametrize("zeros_first", [True, False])
def test_zeros_are_counted_and_have_no_range(zeros_first: bool) -> None:
    zeros, ones = np.zeros(7), np.ones(3)
    assert histogram(zeros).exponent is None
    actual = histogram(zeros, ones) if zeros_first else histogram(ones, zeros)
    assert actual.counts[0] == 7
    assert actual.counts.sum() == 10
