"""Temporary files and folders beside their target: random names, locks that say who lives, and fsync."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME_BYTES = 200  # of 255 that a file system allows, the rest for token and ending
_TOKEN = "[0-9a-f]{16}"
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def new_file(target: Path, ending: str) -> Iterator[tuple[Path, int]]:
    """Yields a new empty file beside `target`, locked, and its descriptor; removes it after the block.

    O_EXCL never opens what somebody else put there, be it a link. `ending`: "tmp" or "partial".
    """
    while True:
        path = _beside(target, ending)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
            if _is_kept(path, descriptor):
                break
            os.close(descriptor)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):  # a failure here would hide the error that led here
            path.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields a new empty folder beside `target`, locked; removes it with its content after the block."""
    while True:
        path = _beside(target, "partial")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        with suppress(FileNotFoundError):  # taken for a leftover already
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if _is_kept(path, descriptor):
                break
            os.close(descriptor)
    try:
        yield path
    finally:
        os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True)


def remove_leftover_files(folder: Path) -> None:
    """Removes the temporary files in `folder` of processes that are gone."""
    pattern = re.compile(rf"\..+\.{_TOKEN}\.(tmp|partial)", re.DOTALL)
    for path in _matching(folder, pattern):
        if path.is_file() and not path.is_symlink() and not _is_locked(path):
            with suppress(OSError):
                path.unlink()


def remove_leftover_folders(target: Path) -> None:
    """Removes the partial folders of `target` of processes that are gone; older versions named them by id."""
    pattern = re.compile(rf"\.{re.escape(_short(target.name))}\.(\d{{1,10}}|{_TOKEN})\.partial", re.DOTALL)
    for path in _matching(target.parent, pattern):
        if path.is_dir() and not path.is_symlink() and not _is_locked(path):
            shutil.rmtree(path, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder below `folder`, and itself, to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def sync(path: Path) -> None:
    """Flushes a file or a folder to the disk. Raises OSError where the disk refuses it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{_short(target.name)}.{secrets.token_hex(8)}.{ending}")


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore"))


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    return []


def _is_kept(path: Path, descriptor: int) -> bool:
    """Locks what was just made; returns whether it is still there: until now it looked like a leftover."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # a file system without locks, where nothing is ever taken for a leftover
        return True


def _is_locked(path: Path) -> bool:
    """Returns whether a living process holds `path`, or may hold it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
