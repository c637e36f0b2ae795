"""Opens files of a bundle: regular files inside the folder, reached through no link.

runtime/src/bundle/file.cpp does the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Stamp(NamedTuple):
    """A file's identity and size [bytes]; when its content and when anything of it changed last [ns].

    A program can set the former time, and not the latter, which a second name of the file changes, too.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    def is_as(self, other: Stamp) -> bool:
        """Returns whether this is the same file with, as far as it says itself, the same content."""
        return self[:-1] == other[:-1]


class LinkError(OSError):
    """A path passes through a link."""


class NoFileError(OSError):
    """A path names nothing, or something that is no regular file; `what` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def is_plain(name: str) -> bool:
    """Returns whether `name` is a relative path of plain names, as bundle.json writes them."""
    return not ("\\" in name or ":" in name or "\0" in name or {"", ".", ".."} & set(name.split("/")))


@contextmanager
def opened(root: Path, name: str) -> Iterator[int]:
    """Yields a descriptor of the regular file `name`, a plain path in `root`, for reading.

    Raises LinkError, NoFileError, or another OSError.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, last = name.split("/")
        for part in folders:
            inner = _open_part(folder, part, stat.S_IFDIR, os.O_DIRECTORY)
            os.close(folder)
            folder = inner
        file = _open_part(folder, last, stat.S_IFREG, os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(folder)
    try:
        yield file
    finally:
        os.close(file)


def stamp_of(file: int) -> Stamp:
    """Returns the stamp of an open file."""
    status = os.fstat(file)
    times = status.st_mtime_ns, status.st_ctime_ns
    return Stamp(status.st_dev, status.st_ino, status.st_size, *times)


def chunks(file: int) -> Iterator[bytes]:
    """Yields the content of an open file in pieces."""
    while chunk := os.read(file, CHUNK_BYTES):
        yield chunk


def whole(file: int) -> bytes:
    """Returns the content of an open file, read at once: joined pieces would need its memory twice."""
    with open(file, "rb", buffering=0, closefd=False) as raw:
        return raw.readall()


def _open_part(folder: int, part: str, wanted: int, flags: int) -> int:
    """Opens one part of a path in `folder`. Its kind is checked first: a pipe or a device is not opened."""
    try:
        _check_kind(os.lstat(part, dir_fd=folder).st_mode, wanted)
        file = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except FileNotFoundError as error:
        raise NoFileError("nothing") from error
    try:
        _check_kind(os.fstat(file).st_mode, wanted)  # again: it may have been replaced
    except OSError:
        os.close(file)
        raise
    return file


def _check_kind(mode: int, wanted: int) -> None:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        raise LinkError
    if kind != wanted:
        raise NoFileError("nothing" if wanted == stat.S_IFDIR else _KINDS.get(kind, "a device"))
