"""A histogram of magnitudes whose range grows with its values, whatever their order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 2048
"""Number of bins."""
LEAST_EXPONENT = -100
"""Smaller values count as zero: 1 / width has to fit float32."""


class Histogram:
    """Counts of |x| in `BINS` equal bins over [0, 2**exponent).

    The range is a power of two. It doubles for larger values, and pairs of bins become one. The counts are
    therefore those of all values in the final range, and at least half of the bins lie below the largest
    value.
    """

    def __init__(self, counts: NDArray[np.int64] | None = None, exponent: int | None = None) -> None:
        """`exponent` is None as long as all values are zero."""
        self.counts = np.zeros(BINS, np.int64) if counts is None else counts
        self.exponent = exponent

    @property
    def width(self) -> float:
        """Width of a bin, in the tensor's unit; the range is 1 as long as all values are zero."""
        return math.ldexp(1, self.exponent or 0) / BINS

    def update(self, magnitudes: NDArray[np.floating]) -> None:
        """Adds finite values >= 0 of any shape."""
        largest = float(magnitudes.max(initial=0))
        if largest > 0:
            self._grow(max(math.frexp(largest)[1], LEAST_EXPONENT))
        # The width is a power of two: exact in the values' own type, in half of float64's time.
        index = (magnitudes.ravel() * magnitudes.dtype.type(1 / self.width)).astype(np.int32)
        self.counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)

    def _grow(self, exponent: int) -> None:
        if self.exponent is None:  # only zeros so far; they stay in the first bin
            self.exponent = exponent
        while self.exponent < exponent:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.exponent += 1
