"""What calibration keeps of a tensor: no values, only sums that grow no larger with more pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glesam_calib.errors import CalibrationError
from glesam_calib.histogram import BINS, Histogram

Vector = NDArray[np.float64]


@dataclass
class TensorStatistics:
    """Of all values of a tensor in all samples, and of each of its C channels.

    `channel_mean` and `channel_square` are means of x and of x * x over `count` values per channel.
    """

    histogram: Histogram
    channel_absmax: Vector
    channel_mean: Vector
    channel_square: Vector
    count: int

    @classmethod
    def empty(cls, channels: int) -> TensorStatistics:
        return cls(Histogram(), np.zeros(channels), np.zeros(channels), np.zeros(channels), 0)

    @property
    def absmax(self) -> float:
        """The largest magnitude that was seen."""
        return float(self.channel_absmax.max(initial=0))

    def update(self, values: NDArray[np.floating], channel_axis: int, name: str) -> None:
        """Adds one sample's tensor, `name` for messages.

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
        seen = np.array(record["histogram"], np.int64)
        counts[: len(seen)] = seen
        exponent = record["exponent"]
        largest, mean, square = (
            np.array(record[f"channel_{what}"], np.float64) for what in ("absmax", "mean", "square")
        )
        if largest.ndim != 1 or not largest.shape == mean.shape == square.shape:
            raise ValueError("channel_absmax, channel_mean and channel_square differ in length")
        if (counts < 0).any() or not np.isfinite(largest + mean + square).all():
            raise ValueError("negative counts, NaN or infinity")
        histogram = Histogram(counts, None if exponent is None else int(exponent))
        return cls(histogram, largest, mean, square, int(record["count"]))


def _rounded(values: Vector) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
