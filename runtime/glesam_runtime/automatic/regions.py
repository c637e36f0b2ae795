"""Finds islands and holes of a mask in numpy, by connecting runs of pixels instead of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Runs:
    """The true pixels of a mask [H,W], row by row: run i is [row[i], start[i]:stop[i]]. Arrays [R]."""

    row: Ints
    start: Ints
    stop: Ints
    shape: tuple[int, int]

    @classmethod
    def from_mask(cls, mask: Bools) -> Runs:
        """Returns the runs of a mask [H,W]."""
        edges = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
        row, start = np.nonzero(edges == 1)
        return cls(row, start, np.nonzero(edges == -1)[1], (mask.shape[0], mask.shape[1]))

    def mask_of(self, chosen: Bools) -> Bools:
        """Returns the mask of those runs for which `chosen` [R] is true."""
        edges = np.zeros((self.shape[0], self.shape[1] + 1), np.int8)
        edges[self.row[chosen], self.start[chosen]] = 1
        # A run that starts where another stops would be the same run, so no edge is written twice.
        edges[self.row[chosen], self.stop[chosen]] = -1
        mask: Bools = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(bool)
        return mask

    def region_areas(self) -> tuple[Ints, Ints]:
        """Returns each run's region, as the index of one of its runs, and each region's area: [R], [R]."""
        region = _connected(len(self.row), *self._touching())
        return region, np.bincount(region, self.stop - self.start, len(region)).astype(np.intp)

    def _touching(self) -> tuple[Ints, Ints]:
        """Returns the pairs of runs in neighbouring rows that share an edge or a corner, as SAM does."""
        row_length = self.shape[1] + 2
        below = (self.row + 1) * row_length
        first = np.searchsorted(self.row * row_length + self.stop, below + self.start, "left")
        last = np.searchsorted(self.row * row_length + self.start, below + self.stop, "right")
        counts = np.maximum(last - first, 0)
        upper = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
        return upper, first[upper] + nth


def without_small_regions(mask: Bools, min_area: int) -> Bools:
    """Returns bool [H,W] without holes, then islands, of fewer than `min_area` pixels, as SAM does.

    Regions touch at edges and corners. Where every island is small, the largest one is kept.
    """
    filled = mask | _regions_below(~mask, min_area)
    small = _regions_below(filled, min_area)
    return filled & ~small if (filled & ~small).any() else _largest_region(filled)


def _regions_below(mask: Bools, min_area: int) -> Bools:
    """Returns the regions of fewer than `min_area` pixels."""
    runs = Runs.from_mask(mask)
    region, areas = runs.region_areas()
    return runs.mask_of(areas[region] < min_area)


def _largest_region(mask: Bools) -> Bools:
    runs = Runs.from_mask(mask)
    region, areas = runs.region_areas()
    return runs.mask_of(region == np.argmax(areas)) if len(areas) else mask


def _connected(count: int, a: Ints, b: Ints) -> Ints:
    """Returns, for each of `count` nodes, the least index connected to it by the pairs (a[i], b[i])."""
    root = np.arange(count)
    while True:
        lowest = np.minimum(root[a], root[b])
        hooked = root.copy()
        np.minimum.at(hooked, root[a], lowest)
        np.minimum.at(hooked, root[b], lowest)
        hooked = hooked[hooked]
        if np.array_equal(hooked, root):
            return root
        root = hooked
