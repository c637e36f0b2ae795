"""Turns pictures upright by their EXIF orientation, whatever else their EXIF holds."""

from __future__ import annotations

import struct

from PIL import Image

_ORIENTATION = 274
_FORMATS = {1: "B", 3: "H", 4: "I"}
"""Types of the field that occur: BYTE, SHORT and LONG."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(picture: Image.Image, exif: bytes | None) -> Image.Image:
    """Returns `picture` turned as `exif` says; unchanged where that names no orientation."""
    turn = _TURNS.get(orientation(exif or b""))
    return picture if turn is None else picture.transpose(turn)


def orientation(exif: bytes) -> int:
    """Returns the orientation in the first directory of an EXIF block, 1 to 8; 1 where it has none.

    No other field is looked at: one that is out of order must not hide the orientation.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        return _orientation(exif, order)
    except struct.error:  # the block is cut
        return 1


def _orientation(exif: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", exif, entry)
        if tag == _ORIENTATION and kind in _FORMATS:
            (value,) = struct.unpack_from(order + _FORMATS[kind], exif, entry + 8)
            return value if value in _TURNS else 1
    return 1
