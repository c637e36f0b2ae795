"""The innermost pixel against masks whose depth can be read off, and against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from glesam.data.innermost import innermost_pixel
from glesam.data.masks import Mask


def drawn(*rows: str) -> Mask:
    """A mask from text, in which `#` is a pixel of the object."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def deepest_by_hand(mask: Mask) -> tuple[int, int]:
    """The same from its definition: every pixel inside against every pixel outside."""
    padded = np.pad(mask, 1)
    inside, outside = np.argwhere(padded), np.argwhere(~padded)
    squared = ((inside[:, None] - outside[None]) ** 2).sum(axis=2).min(axis=1)
    row, column = inside[squared.argmax()] - 1
    return int(column), int(row)


def test_a_discs_innermost_pixel_is_its_centre() -> None:
    y, x = np.mgrid[:60, :80]
    assert innermost_pixel((x - 31) ** 2 + (y - 24) ** 2 <= 15**2) == (31, 24)


def test_a_rings_lies_in_its_thickest_side_and_not_in_the_hole() -> None:
    """Its right side is 24 px wide, x = 41 to 64: 12 px deep where top and bottom are as far away."""
    mask = np.zeros((40, 70), bool)
    mask[5:35, 5:65] = True
    mask[8:32, 8:41] = False
    assert not mask[20, 35]  # the middle of its box
    assert innermost_pixel(mask) == (52, 16)


def test_an_ls_lies_at_the_corner_where_both_bars_meet() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:35, 10:21] = True
    mask[24:35, 10:45] = True
    assert innermost_pixel(mask) == (16, 28)
    assert innermost_pixel(mask) == deepest_by_hand(mask)


def test_the_pictures_border_is_an_edge_of_the_object() -> None:
    """Without it, the farthest pixel of the left half would be in the first column."""
    mask = np.zeros((31, 40), bool)
    mask[:, :21] = True
    assert innermost_pixel(mask) == (10, 10)
    assert innermost_pixel(np.ones((31, 31), bool)) == (15, 15)


@pytest.mark.parametrize("pixel", [(0, 0), (6, 0), (3, 2), (6, 4)])
def test_an_object_of_one_pixel_is_its_own_innermost(pixel: tuple[int, int]) -> None:
    mask = np.zeros((5, 7), bool)
    mask[pixel[1], pixel[0]] = True
    assert innermost_pixel(mask) == pixel


def test_of_equally_deep_pixels_the_first_counts_row_by_row() -> None:
    two_squares = drawn(
        ".........",
        ".....###.",
        ".###.###.",
        ".###.###.",
        ".###.....",
    )
    assert innermost_pixel(two_squares) == (6, 2)
    assert innermost_pixel(two_squares[:, ::-1]) == (2, 2)
    assert innermost_pixel(drawn("....", ".##.", ".##.")) == (1, 1)


def test_distance_is_euclidean() -> None:
    """Both are 3 px deep by the chessboard's distance; the square's corners make it the deeper one."""
    square_and_plus = drawn(
        "...#...........",
        "..###....#####.",
        ".#####...#####.",
        "#######..#####.",
        ".#####...#####.",
        "..###....#####.",
        "...#...........",
    )
    assert innermost_pixel(square_and_plus) == (11, 3)
    assert deepest_by_hand(square_and_plus) == (11, 3)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_masks_is_the_one_that_brute_force_finds(seed: int) -> None:
    """Blobs of several densities, some of them cut by the border; ties are common."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 34, 2)
    noise = np.kron(rng.random((height, width)), np.ones((rng.integers(1, 4),) * 2))
    mask = noise < rng.uniform(0.3, 0.97)
    mask[0, 0] |= not mask.any()
    assert innermost_pixel(mask) == deepest_by_hand(mask)
