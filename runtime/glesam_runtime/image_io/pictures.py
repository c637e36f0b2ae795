"""Reads photographs, and encodes PNG files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..preprocess import Pixels
from .colours import shown
from .files import MAX_PIXELS, decoded


def read_image(path: str | os.PathLike[str], most_pixels: int = MAX_PIXELS) -> Pixels:
    """Reads a picture as uint8 [H,W,3] RGB, as a viewer shows it.

    EXIF orientation is applied, other depths become 8 bits, gAMA and ICC profiles become sRGB, CMYK and
    palettes become RGB, transparent pixels lie on white, an animation shows its first frame.
    Raises ImageError for a missing, broken or floating-point picture, and for more than `most_pixels`.
    """
    return np.array(decoded(Path(path), lambda picture: shown(picture, "white"), most_pixels))


def png_bytes(picture: Image.Image) -> bytes:
    """Returns a PNG file, lightly compressed: at PNG's default level a 12-megapixel overlay takes 2 s."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
