"""The magnitude that becomes 127: absmax, percentile, entropy or MSE, each from a tensor's statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from glesam_calib.observation.histogram import BINS
from glesam_calib.observation.statistics import TensorStatistics

LEVELS = 127
"""Steps on either side of zero: int8 without -128, so that both sides are alike."""
PERCENTILE = 99.99
CANDIDATES = 128
"""Thresholds that entropy and MSE choose from, evenly spaced up to the largest magnitude."""


def absmax(statistics: TensorStatistics) -> float:
    """The largest magnitude: nothing is clipped."""
    return statistics.absmax


def percentile(statistics: TensorStatistics, share: float = PERCENTILE) -> float:
    """The upper edge of the bin below which `share` percent of the magnitudes lie."""
    counts = statistics.histogram.counts
    index = int(np.searchsorted(np.cumsum(counts), counts.sum() * share / 100))
    return min((index + 1) * statistics.histogram.width, statistics.absmax)


def entropy(statistics: TensorStatistics) -> float:
    """The least Kullback-Leibler divergence between the magnitudes and their 128 levels.

    Of S. Migacz, "8-bit inference with TensorRT", GTC 2017: everything beyond the threshold is counted
    in its last bin. The first bin counts as the second does: zeros cost no precision, and where most
    values are zeros, behind a ReLU, they would decide alone (NVIDIA's pytorch-quantization does it too).
    So one value thousands of times the others is not clipped: all of them lie in that bin.
    """
    counts = statistics.histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    return _least(statistics, lambda bins: _divergence(counts, bins))


def mse(statistics: TensorStatistics) -> float:
    """The least mean squared error of rounding and clipping; each value rounds as badly as any.

    For a tensor of mostly zeros, which round exactly, that is more than the real error.
    """
    counts, width = statistics.histogram.counts, statistics.histogram.width
    seen = np.flatnonzero(counts)
    values, weights = (seen + 0.5) * width, counts[seen]

    def error(bins: int) -> float:
        step = bins * width / LEVELS
        # Within the bin of a value the rounding error is that of any value: step^2 / 12.
        rounded = np.where(values <= bins * width, step**2 / 12, (values - bins * width) ** 2)
        return float(weights @ rounded)

    return _least(statistics, error)


METHODS: dict[str, Callable[[TensorStatistics], float]] = {
    "absmax": absmax,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def _least(statistics: TensorStatistics, cost: Callable[[int], float]) -> float:
    """The threshold, of `CANDIDATES`, whose cost is least; `cost` takes it in bins."""
    largest = statistics.absmax
    if largest == 0:
        return 0.0
    width = statistics.histogram.width
    last = min(int(largest / width) + 1, BINS)
    candidates = np.unique(np.linspace(min(LEVELS + 1, last), last, CANDIDATES).astype(int))
    best: int = min(candidates.tolist(), key=cost)
    return min(best * width, largest)


def _divergence(counts: NDArray[np.float64], bins: int) -> float:
    """KL(P || Q) of the first `bins` bins P, with what lies beyond in the last, and Q, their levels."""
    p = counts[:bins].copy()
    q_source = counts[:bins]
    p[-1] += counts[bins:].sum()
    starts = np.linspace(0, bins, LEVELS + 2).astype(int)[:-1]
    occupied = np.add.reduceat((q_source > 0).astype(np.float64), starts)
    level = np.add.reduceat(q_source, starts) / np.maximum(occupied, 1)
    q = np.repeat(level, np.diff(np.append(starts, bins))) * (q_source > 0)
    p, q = p / p.sum(), q / max(q.sum(), 1)
    # A bin that P has and Q lacks would cost infinity; the smallest share stands for it.
    seen = p > 0
    return float(p[seen] @ np.log(p[seen] / np.maximum(q[seen], 1e-12)))
