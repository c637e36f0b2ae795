"""Reads photographs, and encodes PNG and JPEG files."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ..preprocess import Pixels
from .colours import shown
from .files import MAX_PIXELS, decoded

JPEG_MOST_PX = 65_500
"""The longest side of a JPEG that libjpeg writes."""
_BAND_ROWS = 64


def read_image(path: str | os.PathLike[str], most_pixels: int = MAX_PIXELS) -> Pixels:
    """Reads a picture as uint8 [H,W,3] RGB, as a viewer shows it.

    EXIF orientation is applied, other depths become 8 bits, gAMA and ICC profiles become sRGB, CMYK and
    palettes become RGB, transparent pixels lie on white, an animation shows its first frame.
    Raises ImageError for a missing, broken or floating-point picture, and for more than `most_pixels`.
    """
    return pixels_of(decoded(Path(path), lambda picture: shown(picture, "white"), most_pixels))


def png_bytes(picture: Image.Image) -> bytes:
    """Returns a PNG file, lightly compressed: at PNG's default level a 12-megapixel overlay takes 2 s."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def jpeg_bytes(picture: Image.Image, quality: int = 92) -> bytes:
    """Returns a JPEG file with colours at full resolution. Neither side may exceed `JPEG_MOST_PX`."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def pixels_of(picture: Image.Image) -> Pixels:
    """Returns a copy of an RGB picture as uint8 [H,W,3].

    By bands of rows, which stay in a core's cache: np.array takes four times as long for 12 megapixels.
    """
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, picture.height)
        pixels[top:bottom] = np.asarray(picture.crop((0, top, picture.width, bottom)))
    return pixels
