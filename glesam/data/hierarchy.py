"""A hierarchy of regions in a photograph: small patches, merged by colour and texture until one is left.

The patches are a watershed's; the two neighbours that differ least are merged first, as in selective search
(Uijlings et al., 2013). A region that long stays as it is, since its neighbours differ far more than its
parts did, is one that people would mark, too: this is how ultrametric contour maps weigh an edge (Arbelaez et
al., 2011).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.data.augmentation import Image
from glesam.data.masks import Mask

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

LEAST_SIDE = 8
"""Least side of a picture, px: a watershed leaves nothing of its outermost pixels."""
SQUARE = np.ones((3, 3), np.uint8)
PATCH_PX = 7
"""Distance of the watershed's seeds."""
LIGHTNESS, CHROMA = (0.4, 1.0), 1.5
"""Weights of Lab's L and of a and b in the difference of two regions; of a range one is drawn per picture."""
TEXTURE = (0.5, 2.5)
"""Weight of a texture's energy in the same."""
EDGE = 0.5
"""Weight of the mean gradient between two regions."""
GROWTH = 0.3
"""Differences count for the smaller region's area to the power of it: small ones are merged first."""
CALM = 0.5
"""Added to a region's own difference before its parent's is divided by it: even areas are never that even."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Regions 0 to n - 1 are the patches, each later one is a merger of two.

    Attributes:
        patches: int64 [H, W], the patch of each pixel.
        members: of each region, the patches that it consists of.
        lasting: float64 [regions], how many times the difference that ended a region is that at which it came
            about; 0 of patches and of the whole picture.
    """

    patches: Labels
    members: list[list[int]]
    lasting: Floats

    def shares(self) -> Floats:
        """Each region's share of the picture, float64 [regions]."""
        sizes = np.bincount(self.patches.ravel()) / self.patches.size
        return np.array([sizes[patches].sum() for patches in self.members])

    def mask(self, region: int) -> Mask:
        """A region's pixels, bool [H, W]."""
        chosen = np.zeros(int(self.patches.max()) + 1, bool)
        chosen[self.members[region]] = True
        return chosen[self.patches]


def hierarchy_of(image: Image, rng: np.random.Generator) -> Hierarchy:
    """The hierarchy of a picture, uint8 [H, W, 3]; `rng` draws what it weighs more.

    Raises ValueError where a side is shorter than `LEAST_SIDE`.
    """
    if min(image.shape[:2]) < LEAST_SIDE:
        raise ValueError(f"a picture of {image.shape[:2]} px: expected {LEAST_SIDE} or more on each side")
    patches = watershed_patches(image)
    return merged(patches, *appearance(image, rng))


def watershed_patches(image: Image) -> Labels:
    """Patches of about `PATCH_PX` a side that end at edges, int64 [H, W] from 0."""
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    gradient = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, SQUARE)
    markers = np.zeros((height, width), np.int32)
    rows, columns = (range(PATCH_PX // 2, side, PATCH_PX) for side in (height, width))
    for marker, (y, x) in enumerate(product(rows, columns), 1):
        top, left = max(0, y - 2), max(0, x - 2)
        near = gradient[top : y + 3, left : x + 3]
        down, right = divmod(int(near.argmin()), near.shape[1])  # a seed is moved off an edge
        markers[top + down, left + right] = marker
    cv2.watershed(image, markers)
    patches = np.maximum(markers, 0).astype(np.float32)  # watersheds are -1, and so is the frame
    while not patches.all():
        patches = np.where(patches == 0, cv2.dilate(patches, SQUARE), patches)
    return np.unique(patches, return_inverse=True)[1].reshape(height, width)


def appearance(image: Image, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Colour and texture of every pixel, [H, W, 6], and the gradient of its lightness, [H, W]."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness, texture = rng.uniform(*LIGHTNESS), rng.uniform(*TEXTURE)
    light, smooth = lab[..., 0], cv2.GaussianBlur(lab, (0, 0), 0.8)
    slopes = [cv2.Sobel(light, cv2.CV_32F, dx, 1 - dx, ksize=3) / 4 for dx in (1, 0)]
    energies = [cv2.GaussianBlur(np.abs(slope), (0, 0), 3) for slope in slopes]
    mean, square = (cv2.GaussianBlur(x, (0, 0), 4) for x in (light, light * light))
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    pixels = np.dstack(
        [
            lightness * smooth[..., 0],
            CHROMA * smooth[..., 1:],
            *(texture * energy for energy in energies),
            0.5 * texture * deviation,
        ]
    )
    return pixels.astype(np.float64), np.hypot(*slopes).astype(np.float64)


def merged(patches: Labels, pixels: Floats, gradient: Floats) -> Hierarchy:
    """Merges patches [H, W] that look alike; `pixels` and `gradient` as of `appearance`."""
    flat, count = patches.ravel(), int(patches.max()) + 1
    sizes = np.bincount(flat).astype(np.float64)
    looks = np.stack([np.bincount(flat, channel.ravel()) / sizes for channel in pixels.transpose(2, 0, 1)], 1)
    look, size = list(looks), list(sizes)
    members = [[patch] for patch in range(count)]
    borders = borders_of(patches, gradient)
    born, gone = [0.0] * count, [0.0] * count

    def difference(a: int, b: int) -> float:
        length, slope = borders[a][b]
        apart = float(np.linalg.norm(look[a] - look[b])) + EDGE * slope / length
        return apart * math.pow(min(size[a], size[b]), GROWTH)

    heap = [(difference(a, b), a, b) for a in range(count) for b in borders[a] if a < b]
    heapq.heapify(heap)
    level = 0.0
    while heap:
        cost, a, b = heapq.heappop(heap)
        if b not in borders[a]:
            continue  # one of them has been merged
        level = max(level, cost)
        gone[a] = gone[b] = level
        new = len(members)
        look.append((size[a] * look[a] + size[b] * look[b]) / (size[a] + size[b]))
        size.append(size[a] + size[b])
        members.append(members[a] + members[b])
        born.append(level)
        gone.append(0.0)
        borders.append(joined_borders(borders, a, b))
        for other in borders[new]:
            heapq.heappush(heap, (difference(other, new), other, new))
    ends, begins = np.array(gone), np.array(born)
    return Hierarchy(patches, members, np.where(begins > 0, ends / (begins + CALM), 0.0))


Border = tuple[float, float]
"""Pairs of pixels on both sides of a border, and the sum of their larger gradients."""


def borders_of(patches: Labels, gradient: Floats) -> list[dict[int, Border]]:
    """The borders of every patch with its neighbours."""
    count = int(patches.max()) + 1
    keys, slopes = [], []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = patches[one], patches[other]
        apart = a != b
        keys.append((np.minimum(a, b) * count + np.maximum(a, b))[apart])
        slopes.append(np.maximum(gradient[one], gradient[other])[apart])
    pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
    lengths, sums = np.bincount(places), np.bincount(places, np.concatenate(slopes))
    borders: list[dict[int, Border]] = [{} for _ in range(count)]
    for pair, length, total in zip(pairs.tolist(), lengths.tolist(), sums.tolist(), strict=True):
        a, b = divmod(pair, count)
        borders[a][b] = borders[b][a] = (length, total)
    return borders


def joined_borders(borders: list[dict[int, Border]], a: int, b: int) -> dict[int, Border]:
    """The borders of the merger of `a` and `b`, which will be appended; theirs are taken away."""
    new = len(borders)
    joined: dict[int, Border] = {}
    for one, sibling in ((a, b), (b, a)):
        for other, (length, total) in borders[one].items():
            if other == sibling:
                continue
            before = joined.get(other, (0.0, 0.0))
            joined[other] = (before[0] + length, before[1] + total)
            del borders[other][one]
        borders[one] = {}
    for other, border in joined.items():
        borders[other][new] = border
    return joined
