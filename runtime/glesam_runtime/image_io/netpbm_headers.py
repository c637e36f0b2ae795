"""Refuses PPM files, and their kin, of long headers, which Pillow reads byte by byte."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ImageError

LONGEST_HEADER = 1 << 16
"""Longest header [bytes]; one without comments has some twenty."""
_COMMENT = re.compile(rb"#[^\r\n]*")
_BITMAPS = b"14"
"""Second letters of files that give no largest value."""
_KINDS = b"123456fy0"


def check_header(path: Path) -> None:
    """Raises ImageError where `path` begins like a PPM and has no size within LONGEST_HEADER bytes."""
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    if len(head) < LONGEST_HEADER or head[:1] != b"P" or head[1] not in _KINDS:
        return
    words = 3 if head[1] in _BITMAPS else 4
    if len(_COMMENT.sub(b"", head).split(None, words - 1)) < words:
        raise ImageError(
            f"expected a PPM's size within {LONGEST_HEADER} bytes, found none; save the picture again "
            "without comments"
        )
