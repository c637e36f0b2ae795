"""Outlines of a mask as polygons along the edges of its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left and up [px]: the way along the top, right, bottom and left edge of a pixel."""
Edge = tuple[int, int, int]
"""Corner (x, y) where an edge starts, and its index in _STEPS; the object lies on its right-hand side."""


def outlines(mask: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Returns the outer outlines [x0, y0, x1, y1, ...] of a mask's regions, bool [H,W], corners of pixels.

    Filled, they are the mask with its holes closed: COCO's polygons have no holes, its RLE has. Pixels that
    touch at a corner only are two regions.
    """
    rings = _rings(_edges(mask))
    return [[coordinate for corner in ring for coordinate in corner] for ring in rings if _area(ring) > 0]


def closes_holes(polygons: Sequence[Sequence[int]], mask: npt.NDArray[np.bool_]) -> bool:
    """Returns whether the outlines of a mask have a larger area than the mask."""
    rings = [list(zip(polygon[::2], polygon[1::2], strict=True)) for polygon in polygons]
    return bool(sum(map(_area, rings)) > np.count_nonzero(mask))


def _edges(mask: npt.NDArray[np.bool_]) -> dict[Edge, None]:
    """Returns every edge between the object and the rest, in the order of rows."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))  # of the top, right, bottom and left edge of a pixel
    edges: dict[Edge, None] = {}
    for way, (neighbour, (dx, dy)) in enumerate(zip(beside, starts, strict=True)):
        rows, columns = np.nonzero(inside & ~neighbour)
        xs, ys = (columns + dx).tolist(), (rows + dy).tolist()
        edges.update(dict.fromkeys((x, y, way) for x, y in zip(xs, ys, strict=True)))
    return edges


def _rings(edges: dict[Edge, None]) -> list[list[tuple[int, int]]]:
    """Joins the edges to rings and returns the corners of each where it turns. Empties `edges`."""
    rings = []
    while edges:
        x, y, way = start = next(iter(edges))
        ring = []
        while (x, y, way) in edges:
            del edges[x, y, way]
            x, y = x + _STEPS[way][0], y + _STEPS[way][1]
            following = _following(edges, start, (x, y), way)
            if following != way:
                ring.append((x, y))
            way = following
        rings.append(ring)
    return rings


def _following(edges: dict[Edge, None], start: Edge, corner: tuple[int, int], way: int) -> int:
    """Returns the way of the next edge: around the same pixel first, then straight on, then the other way."""
    for following in ((way + 1) % 4, way, (way + 3) % 4):
        if (*corner, following) in edges or (*corner, following) == start:
            return following
    raise AssertionError("an outline that does not close")


def _area(ring: list[tuple[int, int]]) -> float:
    """Returns the area of a ring [px], above 0 where it runs around an object and not around a hole."""
    following = [*ring[1:], ring[0]]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, following, strict=True)) / 2
