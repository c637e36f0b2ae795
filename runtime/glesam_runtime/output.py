"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import OutputError

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class FolderKind:
    """A folder of this kind has the file `marker` in it; `option` of the command names another one."""

    name: str
    marker: str
    option: str


BUNDLE = FolderKind("a bundle", MANIFEST, "--out")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_files(contents: Mapping[Path, bytes], option: str = "--out") -> None:
    """Write all files or none that could be seen half-written; folders are made as needed.

    Each is written under a temporary name in its own folder and renamed once all are complete.
    Raises OutputError where the folder or the disk refuses; `option` chooses another one.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():  # would only be noticed when others are already renamed
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if path.exists() and not path.is_file():  # a device: it would be replaced by a file
                raise FileExistsError(errno.EEXIST, "it is no file", path)
            temporary[path].write_bytes(content)
        for path in contents:
            temporary[path].replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {error.filename or next(iter(contents))} ({error.strerror}); "
            f"choose another folder with {option}, or free some space"
        ) from error
    finally:
        for leftover in temporary.values():
            _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a temporary file. Never masks the error that led here."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path beside `path` whose file takes its place once the block has ended well.

    Raises:
        OSError: the folder or the disk refuses.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors writes files that only their owner may read
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(target: Path, kind: FolderKind = BUNDLE) -> Iterator[Path]:
    """Yields an empty folder beside `target` that takes its place once the block has ended well.

    Whenever the process dies, `target` is the old folder or the new one. A killed run's leftovers are
    removed by the next.

    Raises:
        OutputError: `target` is something else than `kind`, or cannot be written beside.
    """
    target = Path(os.path.realpath(target))  # a link stays, and what it points to is replaced
    check_replaceable(target, kind)
    with scratch_folder(target, kind) as partial:
        yield partial
        check_replaceable(target, kind)  # an export takes minutes: something else may lie there by now
        if target.exists():
            exchange(partial, target)
        else:
            partial.rename(target)


@contextmanager
def scratch_folder(target: Path, kind: FolderKind = BUNDLE) -> Iterator[Path]:
    """Yields an empty folder beside `target` that is gone after the block; a killed run's, after the next."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        partial.mkdir()
    except OSError as error:
        raise OutputError(
            f"cannot write {target} ({error.strerror}); choose another folder with {kind.option}"
        ) from error
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def size_mib(folder: Path) -> float:
    """Size of all files below `folder` [MiB]."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def check_replaceable(target: Path, kind: FolderKind = BUNDLE) -> None:
    """Raises OutputError where `target` holds anything but one of its kind: it would be deleted."""
    if target.is_dir() and ((target / kind.marker).is_file() or not any(target.iterdir())):
        return
    if target.exists():
        raise OutputError(
            f"{target} exists and is not {kind.name}; choose another folder with {kind.option}, "
            "or move it away"
        )


def exchange(one: Path, other: Path) -> None:
    """Swaps two folders in one step of the file system.

    Where the platform or the file system has no such step (renameat2 with RENAME_EXCHANGE, Linux
    3.15), three renames do it, and a kill between them leaves `other` under the name `*.old`.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        paths = os.fsencode(one), os.fsencode(other)
        if not libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
            return
    aside = other.with_name(f"{other.name}.old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _remove_leftovers(target: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.partial")
    for path in target.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():  # not this run, which has no folder yet: in a container ids repeat
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
