"""Recognizes what lies at a path in place of the expected file: a pipe, a Git LFS pointer, a web page."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FORBIDDEN = "no permission to read it"
CURES = {
    "nothing": "check the path",
    "a folder": "check the path",
    FORBIDDEN: "change its permissions, or those of its folder",
}
"""What to do about what `not_a_file` found."""
_SNIFFED = 512
"""Number of leading bytes that identify a pointer or a page."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Major brands of HEIF files with HEVC, in ISO/IEC 23008-12: what telephones write."""
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def not_a_file(path: str | os.PathLike[str]) -> str | None:
    """Returns "nothing", FORBIDDEN, "a folder", "a pipe" or "a device" where no regular file is at `path`.

    A file that lies in a folder which may not be entered is FORBIDDEN, whether it exists or not.
    """
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return FORBIDDEN
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "nothing"
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "a device"


def stand_in(path: str | os.PathLike[str]) -> str | None:
    """Returns "a Git LFS pointer ...", "a HEIC file ..." or "a web page ...", with the cure, or None."""
    if not_a_file(path):
        return None
    try:
        with Path(path).open("rb") as file:
            return stand_in_of(file.read(_SNIFFED))
    except OSError:
        return None


def stand_in_of(start: bytes) -> str | None:
    """Returns what a file is that starts with these bytes, and the cure; None for any other file."""
    if start.startswith(_POINTER):
        return "a Git LFS pointer in its place; run git lfs pull"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        return "a HEIC file; save it as JPEG"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES) and (b"<html" in text or not text.startswith(b"<?xml")):
        return "a web page in its place; download the file itself"
    return None
