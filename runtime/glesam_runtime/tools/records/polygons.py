"""Outlines of a mask: closed loops along the edges between pixels, found in numpy and linked in Python.

Horizontal and vertical pieces of a loop alternate. Each piece runs with the mask on its right hand, so an
outer loop turns clockwise as seen on the screen, and the loop around a hole the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...automatic.regions import Runs

Bools = npt.NDArray[np.bool_]
Pieces = dict[tuple[int, int, int], int]
"""(x, y, direction) of a piece's start -> the other end's x, or its y for a vertical piece."""
EAST, WEST, SOUTH, NORTH = 1, -1, 1, -1


def outlines(mask: Bools) -> list[list[int]]:
    """Returns the outer outlines [x0, y0, x1, y1, ...] of a mask's regions, bool [H,W], in pixels.

    Pixels that touch at a corner only are regions of their own; holes are left out. Filled, the outlines
    give the mask with its holes filled, to the pixel.
    """
    rows, columns = _horizontal(mask), _vertical(mask)
    loops = []
    while rows:
        loop = _loop(rows, columns)
        if _turns_clockwise(loop):
            loops.append(loop)
    return loops


def closes_holes(polygons: Sequence[Sequence[int]], mask: Bools) -> bool:
    """Returns whether the `outlines` of a mask have a larger area than the mask."""
    return sum(map(_twice_area, polygons)) > 2 * int(np.count_nonzero(mask))


def _loop(rows: Pieces, columns: Pieces) -> list[int]:
    """Takes the pieces of one loop out of `rows` and `columns`; returns its corners."""
    start = x, y, direction = next(iter(rows))
    loop: list[int] = []
    while True:
        loop += (x, y)
        x = rows.pop((x, y, direction))
        direction = _to_the_right(columns, x, y, SOUTH if direction == EAST else NORTH)
        loop += (x, y)
        y = columns.pop((x, y, direction))
        right = WEST if direction == SOUTH else EAST
        if start in ((x, y, right), (x, y, -right)) and (x, y, right) not in rows:
            return loop
        direction = _to_the_right(rows, x, y, right)


def _to_the_right(pieces: Pieces, x: int, y: int, right: int) -> int:
    """Returns the direction in which a loop goes on at (x, y): `right`, where a piece leads there.

    Two pieces start where pixels touch at a corner; the one on the right stays with the same pixel.
    """
    return right if (x, y, right) in pieces else -right


def _horizontal(mask: Bools) -> Pieces:
    """Returns the pieces along upper edges of pixels, eastward, and along lower edges, westward."""
    upper, lower = _edges(mask)
    eastward = {(x0, y, EAST): x1 for y, x0, x1 in upper}
    return eastward | {(x1, y, WEST): x0 for y, x0, x1 in lower}


def _vertical(mask: Bools) -> Pieces:
    """Returns the pieces along left edges of pixels, northward, and along right edges, southward."""
    left, right = _edges(mask.T)
    northward = {(x, y1, NORTH): y0 for x, y0, y1 in left}
    return northward | {(x, y0, SOUTH): y1 for x, y0, y1 in right}


def _edges(mask: Bools) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Returns (row, start, stop) of the edges where the mask begins, going down, and where it ends."""
    change = np.diff(mask.astype(np.int8), axis=0, prepend=0, append=0)
    return _runs(change == 1), _runs(change == -1)


def _runs(where: Bools) -> list[tuple[int, int, int]]:
    runs = Runs.from_mask(where)
    return list(zip(runs.row.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True))


def _turns_clockwise(loop: list[int]) -> bool:
    """Returns whether a loop encloses mask, and not a hole."""
    return _twice_area(loop) > 0


def _twice_area(loop: Sequence[int]) -> int:
    """Returns twice the area within a loop, by the shoelace formula; below 0 around a hole."""
    x, y = np.array(loop[0::2]), np.array(loop[1::2])
    return int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
