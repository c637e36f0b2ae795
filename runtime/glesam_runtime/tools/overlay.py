"""Draws masks, tinted and outlined, and prompts on a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from ..automatic.boxes import box_of
from ..errors import ImageError
from ..image_io.pictures import JPEG_MOST_PX, jpeg_bytes, png_bytes
from ..preprocess import Pixels
from ..prompts import Box, Prompt

# Bright and far apart in hue; blue and green come last, since sea and sky are blue and grass is green.
COLOURS = (
    (255, 140, 0),
    (230, 70, 160),
    (250, 215, 40),
    (140, 100, 255),
    (0, 158, 255),
    (0, 200, 130),
)
_WHITE = (255, 255, 255)
_FOREGROUND = (40, 200, 80)
_BACKGROUND = (230, 50, 50)
_TINTS = [round(value * 0.42) for value in range(256)]
_LINE = [min(255, 4 * value, 4 * (255 - value)) for value in range(256)]
_TILE_PX = 256
"""Side of the squares that a mask is drawn in: without them 12 megapixels take twice as long."""


def overlay_file(out: Path, stem: str, drawn: Image.Image) -> tuple[Path, bytes]:
    """Returns where an overlay is written in the folder `out`, and its bytes.

    A JPEG, which takes a twentieth of a PNG's time; a PNG where a side is longer than JPEG can have.
    """
    if max(drawn.size) > JPEG_MOST_PX:
        return out / f"{stem}.overlay.png", png_bytes(drawn)
    return out / f"{stem}.overlay.jpg", jpeg_bytes(drawn)


def draw_overlay(
    image: Pixels, masks: Iterable[npt.NDArray[np.bool_]], prompts: Sequence[Prompt] = ()
) -> Image.Image:
    """Returns an RGB picture of `image`, uint8 [H,W,3], with bool masks [H,W] and `prompts` drawn on it.

    Raises ImageError for a mask of another size.
    """
    masks = list(masks)
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise ImageError(
                f"mask: expected [H,W] = {list(image.shape[:2])} like the picture, found {list(mask.shape)}; "
                "with multimask give one prompt's masks"
            )
    picture = Image.fromarray(image)
    stroke = max(2, round(max(picture.size) / 350))
    # The largest first, so that a part lies on top of the object that it belongs to.
    for index, mask in sorted(enumerate(masks), key=lambda item: -np.count_nonzero(item[1])):
        _draw_mask(picture, mask, _colour(index), stroke)
    draw = ImageDraw.Draw(picture)
    for index, prompt in enumerate(prompts):
        _draw_prompt(draw, prompt, _colour(index) if len(prompts) > 1 else _WHITE, stroke)
    return picture


def _colour(index: int) -> tuple[int, int, int]:
    return COLOURS[index % len(COLOURS)]


def _draw_mask(
    picture: Image.Image, mask: npt.NDArray[np.bool_], colour: tuple[int, int, int], stroke: int
) -> None:
    margin = 2 * stroke + 1  # nothing is drawn beyond: a box blur reaches as far as its radius
    window = _window(mask, margin)
    if window is None:
        return
    left, top, right, bottom = window
    for y in range(top, bottom, _TILE_PX):
        for x in range(left, right, _TILE_PX):
            tile = x, y, min(x + _TILE_PX, right), min(y + _TILE_PX, bottom)
            _draw_tile(picture, mask, colour, stroke, tile, margin)


def _draw_tile(
    picture: Image.Image,
    mask: npt.NDArray[np.bool_],
    colour: tuple[int, int, int],
    stroke: int,
    tile: tuple[int, int, int, int],
    margin: int,
) -> None:
    """Draws a mask in `tile`, (left, top, right, bottom); only one with a border needs a contour."""
    left, top, right, bottom = tile
    x, y = max(0, left - margin), max(0, top - margin)
    around = mask[y : bottom + margin, x : right + margin]
    if not around.any():
        return
    if around.all():
        picture.paste(colour, tile, Image.new("L", (right - left, bottom - top), _TINTS[255]))
        return
    area = Image.fromarray(around.astype(np.uint8) * 255)
    inner = left - x, top - y, right - x, bottom - y
    picture.paste(colour, tile, area.crop(inner).point(_TINTS))
    # A light halo under a coloured line shows on dark and on bright pictures alike.
    picture.paste(_WHITE, tile, _contour(area, 2 * stroke).crop(inner))
    picture.paste(colour, tile, _contour(area, stroke).crop(inner))


def _window(mask: npt.NDArray[np.bool_], margin: int) -> tuple[int, int, int, int] | None:
    """Returns (left, top, right, bottom) around a mask with a margin; None where it is empty."""
    if not mask.any():
        return None
    (x0, y0, x1, y1), (height, width) = box_of(mask), mask.shape
    return max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)


def _contour(area: Image.Image, radius: int) -> Image.Image:
    """Returns a smooth line around a mask: a blurred mask has half its value exactly on the border."""
    blurred = area.filter(ImageFilter.BoxBlur(radius))
    return blurred.point(_LINE)


def _draw_prompt(
    draw: ImageDraw.ImageDraw, prompt: Prompt, colour: tuple[int, int, int], stroke: int
) -> None:
    if prompt.box is not None:
        _draw_box(draw, prompt.box, colour, stroke)
    radius = 3 * stroke
    for points, fill in ((prompt.points, _FOREGROUND), (prompt.background_points, _BACKGROUND)):
        for x, y in points:
            disc = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(disc, fill=fill, outline=_WHITE, width=stroke)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int], stroke: int) -> None:
    """Draws a coloured frame inside a dark one, which is visible on any picture."""
    x0, y0, x1, y1 = box
    draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline="black", width=stroke + 2)
    if min(x1 - x0, y1 - y0) > 3:
        draw.rectangle((x0 + 1, y0 + 1, x1 - 2, y1 - 2), outline=colour, width=stroke)
