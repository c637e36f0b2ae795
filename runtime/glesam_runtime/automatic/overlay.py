"""Draws a hundred masks on a picture: each pixel takes the colour of its smallest mask."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ..preprocess import Pixels

_WHITE = (255, 255, 255)
_TINT = 140  # of 255: the picture stays visible below
_GOLDEN = (5**0.5 - 1) / 2
# Hues that are close again, after 8 or 13 masks, differ in these.
_SATURATION_AND_VALUE = ((0.95, 1.0), (0.55, 0.95), (0.9, 0.6))


def draw_masks(image: Pixels, masks: Iterable[npt.NDArray[np.bool_]]) -> Image.Image:
    """Returns an RGB picture of `image`, uint8 [H,W,3], under bool masks [H,W], the largest first.

    `masks` may be a generator: one mask at a time is in memory.
    """
    labels, colours = _labels(image.shape[:2], masks)
    picture = Image.fromarray(image)
    tint = Image.fromarray(np.where(labels > 0, _TINT, 0).astype(np.uint8))
    picture.paste(Image.fromarray(colours[labels]), mask=tint)
    picture.paste(_WHITE, mask=_borders(labels))
    return picture


def colour(index: int) -> tuple[int, int, int]:
    """Returns the RGB colour of mask `index`; hues a golden ratio apart keep neighbours distinct."""
    saturation, value = _SATURATION_AND_VALUE[index % len(_SATURATION_AND_VALUE)]
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _labels(
    size: tuple[int, ...], masks: Iterable[npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.uint16], Pixels]:
    """Returns [H,W], 1 + the index of the last mask on each pixel or 0, and the colours [N+1,3]."""
    labels, colours = np.zeros(size, np.uint16), [(0, 0, 0)]
    for index, mask in enumerate(masks):
        labels[mask] = index + 1
        colours.append(colour(index))
    return labels, np.array(colours, np.uint8)


def _borders(labels: npt.NDArray[np.uint16]) -> Image.Image:
    """Returns a grey picture that is 255 on thin lines between labels."""
    lines = np.zeros(labels.shape, np.uint8)
    lines[:, 1:][labels[:, 1:] != labels[:, :-1]] = 255
    lines[1:][labels[1:] != labels[:-1]] = 255
    picture, stroke = Image.fromarray(lines), max(labels.shape) // 600
    if stroke < 2:
        return picture  # Pillow 12.3, the last for Python 3.10, dies of a filter of one pixel
    return picture.filter(ImageFilter.MaxFilter(2 * (stroke // 2) + 1))
