"""Where automatic masks ask: points evenly over the picture, and over crops of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..preprocess import Doubles, Size
from .boxes import Box


@dataclass(frozen=True)
class Crop:
    """A part of the picture [px], right and bottom exclusive. Layer 0 is the whole picture."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def box(self) -> Box:
        return self.x0, self.y0, self.x1, self.y1


def point_grid(per_side: int) -> Doubles:
    """[per_side**2, 2] points (x, y) in [0, 1], row by row, each in the middle of its cell."""
    middles = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def crops_of(size: Size, layers: int, overlap_ratio: float) -> Iterator[Crop]:
    """The picture (H, W) itself, then 4 crops, 16, ... as SAM cuts them.

    Crops of a picture too small for so many are fewer.
    """
    height, width = size
    yield Crop(0, 0, width, height, 0)
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / per_side)
        columns = _spans(width, per_side, overlap)
        rows = _spans(height, per_side, overlap)
        for (x0, x1), (y0, y1) in product(columns, rows):
            yield Crop(x0, y0, x1, y1, layer)


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """`count` equally long spans over [0, length), neighbours sharing `overlap`; the last may be cut."""
    span = -(-(overlap * (count - 1) + length) // count)
    starts = (index * (span - overlap) for index in range(count))
    return [(start, min(start + span, length)) for start in starts if start < length]
