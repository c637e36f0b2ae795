"""Masks that need no labels: regions of one colour or one texture in a photograph.

Labelled polygons teach what an object is, but they are coarse, and people also mark a sleeve, a roof or a
road, which few data sets label. These regions teach to follow edges, and that an object has parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.data.augmentation import Image
from glesam.data.hierarchy import LEAST_SIDE, SQUARE, hierarchy_of
from glesam.data.masks import Mask

SIDE = 160
"""Longest side at which regions are found, px."""
LASTING = 0.65
"""Share of the pictures whose regions are a hierarchy's; those of the others have one colour."""
MOST_LASTING = 3.0
"""Regions that last longer are drawn no more often."""
LASTING_POWER, SHARE_POWER = 1.5, 0.7
"""A region's chance is how much it lasts, to the one power, times its share of the picture, to the other."""
ALIKE = 0.7
"""Least IoU of two regions of which one is left out."""
INSIDE, WHOLE = 0.9, 0.85
"""A region is a part of the object in which this share of it lies, unless it is this share of the object."""
SHARE = (0.01, 0.6)
"""Least and largest share of the picture."""
TRIES = 12
JOINED = 0.4
"""Share of the regions that a neighbour joins, again and again: parts of several colours."""
WITHIN = 0.35
"""Share of the regions that begin in a labelled object and end at its edge: its parts."""
ROUNDS = (cv2.TERM_CRITERIA_COUNT, 2, 0.0)
"""Rounds of mean shift: regions are as large as after OpenCV's five, in half the time."""
FILLED = 0.25
"""Least share of its box that a region fills: more than a web of leftovers does."""


@dataclass(frozen=True, eq=False)
class Region:
    """A mask bool [H, W], and whether it is a part of a labelled object."""

    mask: Mask
    is_part: bool


def random_regions(
    image: Image,
    objects: NDArray[np.uint8],
    count: int,
    rng: np.random.Generator,
    lasting: float = LASTING,
) -> list[Region]:
    """At most `count` different regions of a picture.

    Args:
        image: uint8 [H, W, 3].
        objects: uint8 [H, W], 0 where no object is labelled (`MaskLayers.painted`).
        lasting: chance that they are a hierarchy's, otherwise each has one colour; 0 draws no number for it.
    """
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    if round(factor * min(height, width)) < LEAST_SIDE:
        return []  # a line of pixels: nothing is left of it
    shrunk = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    small = np.asarray(shrunk, np.uint8)
    side = small.shape[1], small.shape[0]
    labels = np.asarray(cv2.resize(objects, side, interpolation=cv2.INTER_NEAREST), np.uint8)
    candidates = lasting_regions if lasting and rng.random() < lasting else even_regions
    fitting = (
        Region(_enlarged(region.mask, (height, width), factor), region.is_part)
        for region in candidates(small, labels, rng)
        if SHARE[0] <= region.mask.mean() <= SHARE[1] and _is_compact(region.mask)
    )
    return [region for region in islice(fitting, count) if region.mask.any()]


def lasting_regions(image: Image, objects: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[Region]:
    """Regions of a hierarchy (`glesam.data.hierarchy`), those that last and large ones more often.

    What is nearly all of a labelled object is left out: its own mask is better.
    """
    tree = hierarchy_of(image, rng)
    shares = tree.shares()
    excess = np.maximum(tree.lasting - 1, 0).clip(max=MOST_LASTING)
    weights = excess**LASTING_POWER * shares**SHARE_POWER
    weights *= (shares >= SHARE[0]) & (shares <= SHARE[1])
    likely = np.flatnonzero(weights)
    if not len(likely):
        return
    chances = weights[likely] / weights[likely].sum()
    taken: list[Mask] = []
    for place in rng.choice(likely, min(TRIES, len(likely)), replace=False, p=chances):
        mask = cv2.morphologyEx(tree.mask(int(place)).astype(np.uint8), cv2.MORPH_OPEN, SQUARE) > 0
        if not mask.any() or any((mask & one).sum() > ALIKE * (mask | one).sum() for one in taken):
            continue
        taken.append(mask)
        areas = np.bincount(objects[mask], minlength=256)
        areas[0] = 0
        largest = int(areas.argmax())
        inside = areas[largest] > INSIDE * mask.sum()
        if not inside or areas[largest] < WHOLE * (objects == largest).sum():
            yield Region(mask, bool(inside))


def even_regions(image: Image, objects: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[Region]:
    """Regions of one colour that mean shift finds, and neighbours that join them."""
    radii = float(rng.uniform(4, 10)), float(rng.uniform(10, 45))  # px, grey levels
    filtered = np.asarray(cv2.pyrMeanShiftFiltering(image, *radii, maxLevel=1, termcrit=ROUNDS), np.uint8)
    step = float(rng.uniform(1.5, 5))
    taken = np.zeros(objects.shape, bool)
    for _ in range(TRIES):
        is_part = bool(objects.any() and rng.random() < WITHIN)
        within = objects == rng.choice(objects[objects > 0]) if is_part else None
        y, x = _random_place(objects.shape, within, rng)
        if taken[y, x]:
            continue
        region = _flooded(filtered, (x, y), step)
        while rng.random() < JOINED and region.any():
            region = _with_neighbour(filtered, region, step, rng)
        if within is not None:
            region &= within
        taken |= region
        yield Region(region, is_part)


def _random_place(shape: tuple[int, ...], within: Mask | None, rng: np.random.Generator) -> tuple[int, int]:
    """(y, x): anywhere, or where `within` is set."""
    if within is None:
        return int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    y, x = divmod(int(rng.choice(np.flatnonzero(within))), shape[1])
    return y, x


def _flooded(image: Image, seed: tuple[int, int], step: float) -> Mask:
    """What small steps of colour join to `seed` (x, y), without specks and small holes."""
    mask = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(image, mask, seed, 0, (step,) * 3, (step,) * 3, flags)
    region = cv2.morphologyEx(mask[1:-1, 1:-1], cv2.MORPH_CLOSE, SQUARE)
    opened: Mask = cv2.morphologyEx(region, cv2.MORPH_OPEN, SQUARE) > 0
    return opened


def _with_neighbour(image: Image, region: Mask, step: float, rng: np.random.Generator) -> Mask:
    """The region and one that begins a little beyond its edge."""
    ring = cv2.dilate(region.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~region
    places = np.argwhere(ring)
    if not len(places):
        return region
    y, x = places[int(rng.integers(len(places)))]
    joined = (region | _flooded(image, (int(x), int(y)), step)).astype(np.uint8)
    closed: Mask = cv2.morphologyEx(joined, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return closed


def _is_compact(region: Mask) -> bool:
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return False
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return bool(region.sum() > FILLED * box)


def _enlarged(region: Mask, shape: tuple[int, int], factor: float) -> Mask:
    """The region at the picture's size [H, W], its steps smoothed."""
    size = shape[1], shape[0]
    soft = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    smooth: Mask = cv2.GaussianBlur(soft, (0, 0), 0.5 / factor) > 0.5
    return smooth
