"""Restores a whole picture with a network that maps images to images: padding, tiles, final size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glesam_runtime.errors import InputError

Picture = NDArray[np.uint8]
"""RGB [H, W, 3]."""
Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]
"""RGB [1, 3, h, w] in [0, 1] -> [1, 3, s h, s w], also in [0, 1]; s is one of `SCALES`."""

SCALES = (1, 2, 4)
"""Factors by which a network may enlarge its image."""
MULTIPLE = 64
"""Sides that a network of any size is given are multiples of this many pixels, which U-Nets need."""
OVERLAP = 8
"""Adjacent tiles share at least a side's share of 1 / OVERLAP."""
MOST_EXCESS = 0.1
"""Largest mean distance of a network's values from [0, 1]; real networks overshoot by far less."""


class Restorer(Protocol):
    """Restores pictures without changing their size. Several threads may call it at once."""

    @property
    def origin(self) -> str:
        """What it is and where it came from, in one line."""

    def __call__(self, image: Picture) -> Picture:
        """Raises InputError where the picture cannot be restored."""


def restore_picture(image: Picture, network: Network, tile: tuple[int, int] | None) -> Picture:
    """Restores a picture of any size with `network`, which takes images of `tile` pixels, or of any size.

    A picture is mirrored at its edges up to a tile, or to multiples of `MULTIPLE`. One that is larger than a
    tile is cut into tiles that overlap, whose results are blended: resizing it would lose the details that
    are to be restored. An enlarged result is resized back to the picture's own size.

    Raises:
        InputError: the network's output is no image.
    """
    height, width = image.shape[:2]
    least = tile or (_round_up(height), _round_up(width))
    padding = [(0, max(0, size - have)) for size, have in zip(least, (height, width), strict=True)]
    padded = to_floats(np.pad(image, (*padding, (0, 0)), mode="symmetric").transpose(2, 0, 1))
    restored = tiled(padded, network, least)
    scale = restored.shape[1] // padded.shape[1]
    return to_picture(resized(restored[:, : scale * height, : scale * width], (height, width)))


def _round_up(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE


def tiled(image: Floats, network: Network, tile: tuple[int, int]) -> Floats:
    """Blends what `network` makes of each tile of [3, H, W], at least as large as a tile: [3, s H, s W]."""
    corners = [
        (top, left)
        for top in tile_starts(image.shape[1], tile[0])
        for left in tile_starts(image.shape[2], tile[1])
    ]
    results = [checked(network(image[None, :, y : y + tile[0], x : x + tile[1]]), tile) for y, x in corners]
    if len(results) == 1:
        return results[0]
    scale = results[0].shape[1] // tile[0]
    total = np.zeros((3, scale * image.shape[1], scale * image.shape[2]), np.float32)
    shares = np.zeros(total.shape[1:], np.float32)
    share = ramp(scale * tile[0])[:, None] * ramp(scale * tile[1])
    for (top, left), result in zip(corners, results, strict=True):
        rows = slice(scale * top, scale * (top + tile[0]))
        columns = slice(scale * left, scale * (left + tile[1]))
        total[:, rows, columns] += share * result
        shares[rows, columns] += share
    blended: Floats = np.divide(total, shares, dtype=np.float32)
    return blended


def tile_starts(length: int, tile: int) -> list[int]:
    """Starts of tiles that cover [0, length) evenly and overlap by `tile` / `OVERLAP` or more."""
    if length <= tile:
        return [0]
    overlap = -(-tile // OVERLAP)
    last = math.ceil((length - overlap) / max(1, tile - overlap)) - 1
    return [number * (length - tile) // last for number in range(last + 1)]


def ramp(length: int) -> Floats:
    """Weights along a tile: 1 inside, falling linearly towards both ends across `length` / `OVERLAP`."""
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(1, distance / -(-length // OVERLAP)).astype(np.float32)


def checked(result: Floats, tile: tuple[int, int]) -> Floats:
    """Returns a network's output [1, 3, s h, s w] as [3, s h, s w] in [0, 1], or raises InputError."""
    shapes = [(1, 3, scale * tile[0], scale * tile[1]) for scale in SCALES]
    if result.shape not in shapes:
        raise InputError(
            f"the restorer turned [1,3,{tile[0]},{tile[1]}] into [{','.join(map(str, result.shape))}]; "
            "expected an RGB image of the same size, or 2 or 4 times as large"
        )
    clipped: Floats = np.clip(result[0], 0, 1)
    excess = float(np.abs(result[0] - clipped).mean())
    if not excess <= MOST_EXCESS:  # also where it is NaN
        raise InputError(
            f"the restorer's output lies from {result.min():.3g} to {result.max():.3g}; expected an image in "
            "[0, 1] from an image in [0, 1]; put the scaling of its values into the network"
        )
    return clipped


def resized(image: Floats, size: tuple[int, int]) -> Floats:
    """Resizes [3, h, w] to [3, *size], bicubic and antialiased, in float32."""
    if image.shape[1:] == size:
        return image
    height, width = size
    channels = [
        Image.fromarray(channel, "F").resize((width, height), Image.Resampling.BICUBIC)
        for channel in np.ascontiguousarray(image, np.float32)
    ]
    return np.stack([np.asarray(channel) for channel in channels])


def to_floats(image: NDArray[np.generic]) -> Floats:
    """Turns uint8 into float32 in [0, 1]."""
    floats: Floats = image.astype(np.float32) / np.float32(255)
    return floats


def to_picture(image: Floats) -> Picture:
    """Turns [3, H, W] in [0, 1] into uint8 [H, W, 3], rounded; what lies outside is clipped."""
    values = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0))
