"""What calibration keeps about a tensor: no values, only sums whose size does not grow with more pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glesam_calib.observation.histogram import BINS, LEAST_EXPONENT, Histogram
from glesam_runtime.errors import CalibrationError

MOST_VALUES = 2**50
"""Largest count of a tensor's values: sums of counts fit int64."""
MOST_EXPONENT = 128
"""Largest exponent of a histogram's range: that of float32."""
MOST_MAGNITUDE = float(np.finfo(np.float32).max)
ROUNDING = 1e-6
"""Relative rounding error of the seven digits in a file."""

Vector = NDArray[np.float64]


@dataclass
class TensorStatistics:
    """Statistics of all values of a tensor in all samples, and of each of its C channels.

    `channel_mean` and `channel_square` are means of x and of x * x over `count` values per channel.
    """

    histogram: Histogram
    channel_absmax: Vector
    channel_mean: Vector
    channel_square: Vector
    count: int

    @classmethod
    def empty(cls, channels: int) -> TensorStatistics:
        """Statistics before the first value."""
        return cls(Histogram(), np.zeros(channels), np.zeros(channels), np.zeros(channels), 0)

    @property
    def absmax(self) -> float:
        """Largest magnitude of all samples."""
        return float(self.channel_absmax.max(initial=0))

    def update(self, values: NDArray[np.floating], channel_axis: int, name: str) -> None:
        """Adds one sample's tensor; `name` is for messages.

        Raises:
            CalibrationError: a value is NaN or infinite.
        """
        channels = np.moveaxis(values, channel_axis, -1).reshape(-1, values.shape[channel_axis])
        magnitudes = np.abs(channels)
        largest = magnitudes.max(0, initial=0).astype(np.float64)
        if not np.isfinite(largest).all():
            raise CalibrationError(
                f"{name} is NaN or infinite in the float graph; export the bundle again and run glesam-verify"
            )
        self.histogram.update(magnitudes)
        self.channel_absmax = np.maximum(self.channel_absmax, largest)
        total = self.count + len(channels)
        for kept, sums in (
            (self.channel_mean, channels.sum(0, dtype=np.float64)),
            (self.channel_square, np.einsum("nc,nc->c", channels, channels).astype(np.float64)),
        ):
            kept += (sums - len(channels) * kept) / total
        self.count = total

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, to seven digits; the zeros that end the histogram are left out."""
        return {
            "exponent": self.histogram.exponent,
            "histogram": np.trim_zeros(self.histogram.counts, "b").tolist(),
            "count": self.count,
            "channel_absmax": _rounded(self.channel_absmax),
            "channel_mean": _rounded(self.channel_mean),
            "channel_square": _rounded(self.channel_square),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> TensorStatistics:
        """Raises KeyError, TypeError or ValueError for anything that to_json does not write."""
        counts = np.zeros(BINS, np.int64)
        kept = np.array(record["histogram"], np.int64)
        counts[: len(kept)] = kept
        exponent = None if record["exponent"] is None else int(record["exponent"])
        largest, mean, square = (
            np.array(record[f"channel_{what}"], np.float64) for what in ("absmax", "mean", "square")
        )
        if largest.ndim != 1 or not largest.shape == mean.shape == square.shape:
            raise ValueError("channel_absmax, channel_mean and channel_square differ in length")
        if not (counts >= 0).all() or not (counts <= MOST_VALUES).all() or int(record["count"]) < 0:
            raise ValueError(f"a count is not between 0 and {MOST_VALUES}")
        sizes = np.stack([largest, np.abs(mean), square])
        if not (sizes >= 0).all() or not (sizes <= MOST_MAGNITUDE).all():
            raise ValueError("a magnitude or square is negative, NaN or infinite")
        if exponent is not None and not LEAST_EXPONENT <= exponent <= MOST_EXPONENT:
            raise ValueError(f"exponent {exponent} is not between {LEAST_EXPONENT} and {MOST_EXPONENT}")
        reach = 0.0 if exponent is None else math.ldexp(1, exponent) * (1 + ROUNDING)
        if largest.max(initial=0) > reach or (reach and not counts.any()):
            raise ValueError("histogram and channel_absmax differ")
        return cls(Histogram(counts, exponent), largest, mean, square, int(record["count"]))


def _rounded(values: Vector) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
