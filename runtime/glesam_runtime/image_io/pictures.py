"""Reads photographs, and writes PNG files: numpy gets the pixels by bands of rows, within a core's cache."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..preprocess import Pixels
from .colours import shown
from .files import MAX_PIXELS, decoded

_BAND_ROWS = 64
_PART_BYTES, _THREADS = 4 << 20, 4
_ADLER_BASE = 65521
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

    RGB is written here, large pictures by several threads: Pillow tries every filter on every row, which
    doubles the time for no smaller file.
    """
    if picture.mode == "RGB":
        return _rgb_file(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixels_of(picture: Image.Image) -> Pixels:
    """Returns a copy of an RGB picture as uint8 [H,W,3]; of 12 megapixels in a quarter of np.array's time."""
    pixels = np.empty((picture.height, picture.width, _CHANNELS), np.uint8)
    for top, band in _bands(picture, 0, picture.height):
        pixels[top : top + len(band)] = band
    return pixels


def _rgb_file(picture: Image.Image) -> bytes:
    rows = max(1, _PART_BYTES // (_CHANNELS * picture.width))
    parts = [(top, min(top + rows, picture.height)) for top in range(0, picture.height, rows)]
    with ThreadPoolExecutor(_THREADS) as pool:
        packed = list(pool.map(partial(_packed, picture), parts))
    header = struct.pack(">2I5B", *picture.size, _BITS, _RGB, 0, 0, 0)
    # One zlib stream: its header, the parts, an empty last block, and the sum of all rows.
    data = [b"\x78\x01", *(each.content for each in packed), b"\x03\x00", struct.pack(">I", _sum_of(packed))]
    chunks = (b"IHDR", header), (b"IDAT", b"".join(data)), (b"IEND", b"")
    return b"".join([_SIGNATURE, *(piece for chunk in chunks for piece in _chunk(*chunk))])


@dataclass(frozen=True)
class _Packed:
    """Rows as a piece of a deflate stream: their Adler-32 and their size [bytes] before."""

    content: bytes
    adler: int
    size: int


def _packed(picture: Image.Image, part: tuple[int, int]) -> _Packed:
    """Returns the rows of a part, (first, one past the last)."""
    packer, content, adler, size = zlib.compressobj(1, wbits=-zlib.MAX_WBITS), [], 1, 0
    for rows in _filtered(picture, *part):
        content.append(packer.compress(rows.data))
        adler, size = zlib.adler32(rows.data, adler), size + rows.size
    return _Packed(b"".join([*content, packer.flush(zlib.Z_FULL_FLUSH)]), adler, size)


def _sum_of(parts: Sequence[_Packed]) -> int:
    """Returns the Adler-32 of all parts: a sum, and a sum of the sums, modulo 65521 (RFC 1950)."""
    low, high = 1, 0
    for part in parts:
        high = (high + (part.adler >> 16) + part.size * (low - 1)) % _ADLER_BASE
        low = (low + (part.adler & 0xFFFF) - 1) % _ADLER_BASE
    return high << 16 | low


def _chunk(name: bytes, content: bytes) -> tuple[bytes, ...]:
    """Returns the parts of a chunk: its length, its name, its content, and the sum of both."""
    total = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)), name, content, struct.pack(">I", total)


def _filtered(picture: Image.Image, first: int, last: int) -> Iterator[Pixels]:
    """Yields rows of a PNG file, uint8 [h,1+3*W] by bands."""
    above = np.zeros((1, _CHANNELS * picture.width), np.uint8)
    if first:
        above = np.asarray(picture.crop((0, first - 1, picture.width, first))).reshape(1, -1)
    for _, band in _bands(picture, first, last):
        values = band.reshape(len(band), -1)
        rows = np.empty((len(values), 1 + values.shape[1]), np.uint8)
        rows[:, 0] = _UP
        np.subtract(values[:1], above, out=rows[:1, 1:])
        np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
        above = values[-1:]
        yield rows


def _bands(picture: Image.Image, first: int, last: int) -> Iterator[tuple[int, Pixels]]:
    """Yields the first row and the pixels of each band of an RGB picture's rows from `first` up to `last`."""
    for top in range(first, last, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, last)
        yield top, np.asarray(picture.crop((0, top, picture.width, bottom)))
