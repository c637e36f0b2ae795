"""The magnitude that becomes the last step, by absmax, percentile, entropy or MSE, from statistics.

Every method takes the number of steps between zero and that magnitude: fewer values are worth clipping where
steps are finer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from glesam_calib.observation.histogram import BINS
from glesam_calib.observation.statistics import TensorStatistics

LEVELS = 127
"""Number of steps on either side of zero: int8 without -128, so that both sides are alike."""
UNSIGNED_LEVELS = 255
"""Number of steps of a tensor that is never negative, in uint8."""
PERCENTILE = 99.99
"""Percentage of the magnitudes that `percentile` does not clip."""
CANDIDATES = 128
"""Number of thresholds that entropy and MSE choose from, evenly spaced up to the largest magnitude."""


def absmax(statistics: TensorStatistics, levels: int = LEVELS) -> float:
    """The largest magnitude: nothing is clipped."""
    return statistics.absmax


def percentile(statistics: TensorStatistics, levels: int = LEVELS) -> float:
    """The upper edge of the bin below which `PERCENTILE` of the magnitudes lie."""
    counts = statistics.histogram.counts
    index = int(np.searchsorted(np.cumsum(counts), counts.sum() * PERCENTILE / 100))
    return min((index + 1) * statistics.histogram.width, statistics.absmax)


def entropy(statistics: TensorStatistics, levels: int = LEVELS) -> float:
    """The threshold with the least Kullback-Leibler divergence between the magnitudes and those of the steps.

    The method is S. Migacz's ("8-bit inference with TensorRT", GTC 2017): everything beyond the threshold is
    counted in its last bin. The first bin counts like the second: zeros cost no precision, and behind a ReLU,
    where most values are zeros, they would decide alone (NVIDIA's pytorch-quantization does the same). One
    value thousands of times the others is therefore not clipped: all others lie in the first bin.
    """
    counts = statistics.histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    return _least(statistics, lambda bins: _divergence(counts, bins, levels), levels + 1)


def mse(statistics: TensorStatistics, levels: int = LEVELS) -> float:
    """The threshold with the least mean squared error of rounding and clipping.

    Every value counts with the mean rounding error. For a tensor of mostly zeros, which round exactly, that
    is more than the real error.
    """
    counts, width = statistics.histogram.counts, statistics.histogram.width
    occupied = np.flatnonzero(counts)
    values, weights = (occupied + 0.5) * width, counts[occupied]

    def error(bins: int) -> float:
        step = bins * width / levels
        # The mean squared rounding error is step^2 / 12.
        rounded = np.where(values <= bins * width, step**2 / 12, (values - bins * width) ** 2)
        return float(weights @ rounded)

    return _least(statistics, error, LEVELS + 1)


METHODS: dict[str, Callable[[TensorStatistics, int], float]] = {
    "absmax": absmax,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def _least(statistics: TensorStatistics, cost: Callable[[int], float], first: int) -> float:
    """The threshold among `CANDIDATES` with the least cost; `cost` takes it in bins, `first` is the least."""
    largest = statistics.absmax
    if largest == 0:
        return 0.0
    width = statistics.histogram.width
    last = min(int(largest / width) + 1, BINS)
    candidates = np.unique(np.linspace(min(first, last), last, CANDIDATES).astype(int))
    best: int = min(candidates.tolist(), key=cost)
    return min(best * width, largest)


def _divergence(counts: NDArray[np.float64], bins: int, levels: int) -> float:
    """KL(P || Q) of the first `bins` bins P, the last one with all beyond it, and Q, their steps."""
    p = counts[:bins].copy()
    q_source = counts[:bins]
    p[-1] += counts[bins:].sum()
    starts = np.linspace(0, bins, levels + 2).astype(int)[:-1]
    occupied = np.add.reduceat((q_source > 0).astype(np.float64), starts)
    level = np.add.reduceat(q_source, starts) / np.maximum(occupied, 1)
    q = np.repeat(level, np.diff(np.append(starts, bins))) * (q_source > 0)
    p, q = p / p.sum(), q / max(q.sum(), 1)
    # A bin that P has and Q lacks would cost infinity; 1e-12 replaces its zero.
    counted = p > 0
    return float(p[counted] @ np.log(p[counted] / np.maximum(q[counted], 1e-12)))
