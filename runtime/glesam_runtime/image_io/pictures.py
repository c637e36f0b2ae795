"""Reads photographs, and writes PNG files: numpy gets the pixels by bands of rows, within a core's cache."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..preprocess import Pixels
from .colours import shown
from .files import MAX_PIXELS, decoded

_BAND_ROWS = 64
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # PNG's filter: each byte less the one above it
_CHANNELS, _RGB, _BITS = 3, 2, 8  # RGB is PNG's colour type 2


def read_image(path: str | os.PathLike[str], most_pixels: int = MAX_PIXELS) -> Pixels:
    """Reads a picture as uint8 [H,W,3] RGB, as a viewer shows it.

    EXIF orientation is applied, other depths become 8 bits, gAMA and ICC profiles become sRGB, CMYK and
    palettes become RGB, transparent pixels lie on white, an animation shows its first frame.
    Raises ImageError for a missing, broken or floating-point picture, and for more than `most_pixels`.
    """
    return pixels_of(decoded(Path(path), lambda picture: shown(picture, "white"), most_pixels))


def png_bytes(picture: Image.Image) -> bytes:
    """Returns a PNG file, lightly compressed: at PNG's default level a 12-megapixel overlay takes 2 s.

    RGB is written here: Pillow tries every filter on every row, which doubles the time for no smaller file.
    """
    if picture.mode == "RGB":
        return _rgb_file(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixels_of(picture: Image.Image) -> Pixels:
    """Returns a copy of an RGB picture as uint8 [H,W,3]; of 12 megapixels in a quarter of np.array's time."""
    pixels = np.empty((picture.height, picture.width, _CHANNELS), np.uint8)
    for top, band in _bands(picture):
        pixels[top : top + len(band)] = band
    return pixels


def _rgb_file(picture: Image.Image) -> bytes:
    packer = zlib.compressobj(1)
    packed = [packer.compress(rows.data) for rows in _filtered(picture)]
    header = struct.pack(">2I5B", *picture.size, _BITS, _RGB, 0, 0, 0)
    data = b"".join([*packed, packer.flush()])
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", data), *_chunk(b"IEND", b"")])


def _chunk(name: bytes, content: bytes) -> tuple[bytes, ...]:
    """Returns the parts of a chunk: its length, its name, its content, and the sum of both."""
    total = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)), name, content, struct.pack(">I", total)


def _filtered(picture: Image.Image) -> Iterator[Pixels]:
    """Yields the rows of a PNG file, uint8 [h,1+3*W] by bands."""
    above = np.zeros((1, _CHANNELS * picture.width), np.uint8)
    for _, band in _bands(picture):
        values = band.reshape(len(band), -1)
        rows = np.empty((len(values), 1 + values.shape[1]), np.uint8)
        rows[:, 0] = _UP
        np.subtract(values[:1], above, out=rows[:1, 1:])
        np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
        above = values[-1:]
        yield rows


def _bands(picture: Image.Image) -> Iterator[tuple[int, Pixels]]:
    """Yields the first row and the pixels of each band of an RGB picture."""
    for top in range(0, picture.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, picture.height)
        yield top, np.asarray(picture.crop((0, top, picture.width, bottom)))
