"""Counts the scans of a JPEG: each goes over all pixels once more, and a few bytes suffice for one."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from ..errors import ImageError

MOST_SCANS = 100
"""Most scans of a picture, in both languages. Encoders write about ten."""
_START, _END, _SCAN = b"\xff\xd8", 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # those within coded data are none


def check_scans(path: Path) -> None:
    """Raises ImageError where the file at `path` is a JPEG of more than MOST_SCANS scans."""
    with path.open("rb") as file:
        if file.read(2) != _START:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if _has_more_scans(content):
                raise ImageError(
                    f"expected a JPEG of at most {MOST_SCANS} scans, found more; save the picture again"
                )


def _has_more_scans(content: mmap.mmap) -> bool:
    scans, position = 0, 2
    while (marker := _MARKER.search(content, position)) is not None:
        kind = content[marker.start() + 1]
        if kind == _END:
            return False
        scans += kind == _SCAN
        if scans > MOST_SCANS:
            return True
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        position = marker.end() + length
    return False
