"""The one writer of files and folders, which appear whole or not at all."""

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
    """A kind of folder: `marker` is a file in each of them, `option` is the command's option for the path."""

    name: str
    marker: str
    option: str


BUNDLE = FolderKind("a bundle", MANIFEST, "--out")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_files(contents: Mapping[Path, bytes], option: str = "--out") -> None:
    """Writes all files, so that none is ever seen half-written; folders are made as needed.

    Each is written under a temporary name in its own folder and renamed once all are complete.
    Raises OutputError where the folder or the disk refuses; `option` is the command's option for the path.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():  # renaming would fail only after other files were renamed
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if path.exists() and not path.is_file():  # a device, which a file would replace
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
    """Removes a temporary file, and ignores failures, which would hide the error that led here."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path beside `path`; its file replaces `path` when the block ends without an error.

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
        partial.chmod(mode)  # safetensors writes files that only their owner can read
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(target: Path, kind: FolderKind = BUNDLE) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which it replaces when the block ends without an error.

    Whenever the process dies, `target` is the old folder or the new one. The next run removes the leftovers
    of a killed one.

    Raises:
        OutputError: `target` is not of this kind, or its parent folder cannot be written.
    """
    target = Path(os.path.realpath(target))  # a link stays; its target is replaced
    check_replaceable(target, kind)
    with scratch_folder(target, kind) as partial:
        yield partial
        check_replaceable(target, kind)  # an export takes minutes: something else may be there by now
        if target.exists():
            exchange(partial, target)
        else:
            partial.rename(target)


@contextmanager
def scratch_folder(target: Path, kind: FolderKind = BUNDLE) -> Iterator[Path]:
    """Yields an empty folder beside `target` that is removed after the block, or by the next run."""
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
    """Raises OutputError where `target` is anything but a folder of its kind, which would be deleted."""
    if target.is_dir() and ((target / kind.marker).is_file() or not any(target.iterdir())):
        return
    if target.exists():
        raise OutputError(
            f"{target} exists and is not {kind.name}; choose another folder with {kind.option}, "
            "or move it away"
        )


def exchange(one: Path, other: Path) -> None:
    """Swaps two folders in one step of the file system: renameat2 with RENAME_EXCHANGE, since Linux 3.15.

    Elsewhere three renames do it, and a kill between them leaves `other` under the name `*.old`.
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
    """Removes the partial folders of runs that were killed."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.partial")
    for path in target.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():  # this run has no folder yet: ids repeat in a container
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
