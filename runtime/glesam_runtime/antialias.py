"""Antialiased bilinear resizing in float32, as SAM 2 resizes its pictures (torch's `antialias=True`).

Along an axis each output pixel is the weighted mean of the pixels under a triangle, which is two output
pixels wide where the picture shrinks and two input pixels wide where it grows:

    w[k] = max(0, 1 - |k + 0.5 - c| / max(1, s)),   c = s (i + 0.5),   s = input size / output size

with weights that sum to 1. First the rows, then the columns; products and sums are rounded to float32 one by
one, in the order of the pixels, so that another implementation can give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TriangleAxis:
    """N output pixels along one axis, each a weighted sum of at most T neighbouring input pixels.

    first: intp [N], the first input pixel of each. weights: float32 [N, T], 0 past a pixel's last neighbour.
    last: the last input pixel.
    """

    first: npt.NDArray[np.intp]
    weights: Floats
    last: int

    def resize(self, samples: npt.NDArray[Any]) -> Floats:
        """Returns `samples`, uint8 or float32 [K, M], resized to float32 [N, M]."""
        total = np.zeros((len(self.first), samples.shape[1]), np.float32)
        part = np.empty_like(total)
        for tap in range(self.weights.shape[1]):
            neighbours = samples.take(np.minimum(self.first + tap, self.last), axis=0)
            np.multiply(neighbours, self.weights[:, tap : tap + 1], out=part, dtype=np.float32)
            total += part
        return total


@lru_cache(maxsize=8)  # a camera's pictures all have one size
def triangle_axis(size: int, resized: int) -> TriangleAxis:
    """Returns the axis from `size` input pixels to `resized` output pixels.

    Weights are computed in float64 and rounded once.
    """
    scale = size / resized
    reach = max(scale, 1.0)
    centres = scale * (np.arange(resized) + 0.5)
    first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.intp)
    end = np.minimum(np.floor(centres + reach + 0.5), size).astype(np.intp)
    pixels = first[:, None] + np.arange(int((end - first).max()))
    weights = np.maximum(0, 1 - np.abs(pixels + 0.5 - centres[:, None]) / reach) * (pixels < end[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return TriangleAxis(first, weights.astype(np.float32), size - 1)


def antialiased(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """Returns `image`, uint8 [H, W, C], resized to `size`, (height, width), as float32 in [0, 255]."""
    rows, columns = triangle_axis(image.shape[0], size[0]), triangle_axis(image.shape[1], size[1])
    planes = [columns.resize(rows.resize(image[..., c]).T).T for c in range(image.shape[2])]
    return np.stack(planes, axis=-1)
