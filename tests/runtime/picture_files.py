"""Writes picture files that Pillow cannot save: chunks, tags, EXIF blocks and profiles of every kind."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Chunks = Sequence[tuple[bytes, bytes]]
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types of a PNG."""
SHORT, ASCII, LONG, DOUBLE = 3, 2, 4, 12
"""Types of a TIFF field."""
TURN = (274, SHORT, 1, struct.pack("<HH", 6, 0))
"""The field of a camera held upright: to be shown turned clockwise."""
ODD_FIELDS = {
    "x resolution as text": (282, ASCII, 4, b"300\0"),
    "copyright as a number": (33432, DOUBLE, 0, b"\0\0\0\0"),
    "unit as long": (296, LONG, 1, struct.pack("<I", 70000)),
    "a value far outside": (270, ASCII, 2**31, struct.pack("<I", 2**32 - 1)),
    "an unknown type": (271, 99, 1, b"\0\0\0\0"),
}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    rows: NDArray[np.generic],
    colour_type: int,
    bits: int = 8,
    before: Chunks = (),
    after: Chunks = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG of packed rows: uint8 [H, bytes of a row], or uint16, which is stored big-endian."""
    height = rows.shape[0]
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}[colour_type]
    stored = (rows.astype(">u2") if rows.dtype == np.uint16 else rows).reshape(height, -1).view(np.uint8)
    width = stored.shape[1] * 8 // (bits * channels)
    passes = adam7(stored, bits * channels) if interlaced else [stored]
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for part in passes for row in part))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    parts = [(b"IHDR", header), *before, (b"IDAT", pixels), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def adam7(rows: NDArray[np.uint8], pixel_bits: int) -> list[NDArray[np.uint8]]:
    """The packed rows of an interlaced PNG's passes, each [H, bytes of a row]."""
    pixels = np.unpackbits(rows, axis=1).reshape(len(rows), -1, pixel_bits)
    starts = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    parts = [pixels[top::down, left::right] for left, top, right, down in starts]
    return [np.packbits(part.reshape(len(part), -1), axis=1) for part in parts if part.size]


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def exif(*fields: tuple[int, int, int, bytes]) -> bytes:
    """A little-endian block with these fields in its first directory."""
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + b"\0\0\0\0"


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG with one more marker segment at its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def jpeg_of(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **{"quality": 92, **options})
    return buffer.getvalue()


def tiff(rows: bytes, size: tuple[int, int], bits: int, photometric: int, sample_format: int = 1) -> bytes:
    """A TIFF of one grey channel; `size` is (width, height)."""
    width, height = size
    fields = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1)]
    fields += [(278, height), (279, len(rows)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, LONG if tag == 279 else SHORT, 1, v) for tag, v in fields)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(rows))
        + rows
        + struct.pack("<H", len(fields))
        + entries
        + bytes(4)
    )


def profile(space: bytes, gamma: float) -> bytes:
    """An ICC profile: Adobe RGB's primaries or grey, with a power as its curve."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    if space == b"GRAY":
        tags = {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": curve}
    else:
        tags = {
            b"wtpt": xyz(0.9642, 1.0, 0.8249),
            b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
            b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
            b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        }
    offset = 128 + 4 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    for name, data in tags.items():
        table += name + struct.pack(">II", offset, len(data))
        offset += len(data)
    header = struct.pack(">I4sI4s4s4s", offset, bytes(4), 0x02100000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + table + b"".join(tags.values())


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def bomb(side: int = 30_000) -> bytes:
    """A PNG whose header promises side x side pixels and which holds none."""
    header = struct.pack(">IIBBBBB", side, side, 8, RGB, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def jpeg_bomb(side: int = 30_000) -> bytes:
    """A JPEG of 8 x 8 pixels whose header promises side x side."""
    small = jpeg_of(Image.new("RGB", (8, 8)))
    start = small.index(b"\xff\xc0") + 5
    return small[:start] + struct.pack(">HH", side, side) + small[start + 4 :]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
