"""PNG files for Pillow, which refuses long texts and does not notice missing rows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ..errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_SHORT_TEXT = 1000
"""Largest text [bytes] that stays: Pillow refuses pictures with texts of more than 1 MiB, also compressed."""
MOST_CHUNKS = 10_000
"""Most chunks beside those of the pixels: each costs Pillow some microseconds, and may have twelve bytes."""
_OWN = (b"IDAT", b"fdAT")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by colour type."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top, and steps to the right and down of an interlaced picture's passes."""
_BLOCK = 1 << 20


def without_long_texts(path: Path) -> Path | io.BytesIO:
    """Returns what Pillow is to read: `path`, or its content without the long texts of a PNG.

    Raises ImageError for more than MOST_CHUNKS chunks.
    """
    with path.open("rb") as file:
        skipped, others = [], 0
        for name, start, end in _chunks(file):
            others += name not in _OWN
            if others > MOST_CHUNKS:
                raise ImageError(
                    f"expected a PNG of at most {MOST_CHUNKS} chunks beside its pixels, found more; "
                    "save the picture again"
                )
            if name in _TEXTS and end - start > _SHORT_TEXT and _is_sound(file, start, end):
                skipped.append((start, end))
        if not skipped:
            return path
        file.seek(0)
        kept, at = io.BytesIO(), 0
        for start, end in skipped:
            kept.write(file.read(start - at))
            file.seek(end)
            at = end
        kept.write(file.read())
    kept.seek(0)
    return kept


def check_rows(source: Path | io.BytesIO, picture: Image.Image) -> None:
    """Raises ImageError where a PNG holds fewer rows than its header promises.

    Pillow leaves those rows 0 and says nothing; where the last one holds more, nothing is counted.
    """
    if picture.format != "PNG":
        return
    width, height = picture.size
    # The last pass of an interlaced picture has its odd rows.
    last = height - 2 if "interlace" in picture.info and height % 2 and height > 1 else height - 1
    if picture.crop((0, last, width, last + 1)).getbbox() is not None:
        return
    with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source.open("rb") as file:
        expected, found = _sizes(file)
    if found < expected:
        raise ImageError(f"cannot read the picture to its end ({found} of {expected} bytes); copy it again")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name, start and end of each chunk that is there in full; none of a file that is no PNG."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    at = len(_SIGNATURE) if file.read(len(_SIGNATURE)) == _SIGNATURE else size
    while at + 12 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if at + 12 + length > size:
            return
        yield name, at, at + 12 + length
        at += 12 + length


def _is_sound(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start + 4)
    content = file.read(end - start - 8)
    return zlib.crc32(content) == int.from_bytes(file.read(4), "big")


def _sizes(file: BinaryIO) -> tuple[int, int]:
    """Returns the size of a PNG's rows by its header, and that of its data, counted up to the former."""
    expected, found = 0, 0
    stream = zlib.decompressobj()
    for name, start, end in _chunks(file):
        file.seek(start + 8)
        content = file.read(end - start - 12) if name in (b"IHDR", b"IDAT") else b""
        if name == b"IHDR":
            expected = _row_bytes(*struct.unpack(">IIBBBBB", content[:13]))
        while name == b"IDAT" and content and found < expected:
            found += len(stream.decompress(content, _BLOCK))
            content = stream.unconsumed_tail
    return expected, found


def _row_bytes(width: int, height: int, bits: int, colour_type: int, *ways: int) -> int:
    """Returns the number of bytes of all rows, each with a byte for its filter."""
    pixel_bits = bits * _CHANNELS[colour_type]
    total = 0
    for left, top, right, down in _PASSES if ways[-1] else ((0, 0, 1, 1),):
        columns, rows = len(range(left, width, right)), len(range(top, height, down))
        total += rows * (1 + (columns * pixel_bits + 7) // 8) if columns else 0
    return total
