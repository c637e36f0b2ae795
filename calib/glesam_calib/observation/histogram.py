"""A histogram of magnitudes that grows with what it sees, and does not depend on the order it sees it in."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 2048
LEAST_EXPONENT = -100
"""Smaller values count as zero: 1 / width has to fit float32."""


class Histogram:
    """Counts of |x| in `BINS` equal bins over [0, 2**exponent).

    The range is a power of two: when larger values come it doubles, and pairs of bins become one. So the
    counts are those of all values in the final range, whatever came first, and at least half of the bins
    lie below the largest value.
    """

    def __init__(self, counts: NDArray[np.int64] | None = None, exponent: int | None = None) -> None:
        """`exponent` is None as long as nothing but zeros was seen."""
        self.counts = np.zeros(BINS, np.int64) if counts is None else counts
        self.exponent = exponent

    @property
    def width(self) -> float:
        """Of a bin, in the tensor's unit; 1 as long as all values are zero."""
        return math.ldexp(1, self.exponent or 0) / BINS

    def update(self, magnitudes: NDArray[np.floating]) -> None:
        """Adds finite values >= 0 of any shape."""
        largest = float(magnitudes.max(initial=0))
        if largest > 0:
            self._grow(max(math.frexp(largest)[1], LEAST_EXPONENT))
        # A power of two: exact in the values' own type, which is half of the time of float64.
        index = (magnitudes.ravel() * magnitudes.dtype.type(1 / self.width)).astype(np.int32)
        self.counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)

    def _grow(self, exponent: int) -> None:
        if self.exponent is None:  # zeros, if anything, and they stay in the first bin
            self.exponent = exponent
        while self.exponent < exponent:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.exponent += 1
