"""Folders that are replaced whole, such as bundles."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from .temporary import new_folder, remove_leftover_folders, sync, sync_tree

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder: `marker` is a file in each of them, `option` is the command's option for the path."""

    name: str
    marker: str
    option: str


BUNDLE = FolderKind("a bundle", MANIFEST, "--out")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


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
        try:
            sync_tree(partial)
            if target.exists():
                exchange(partial, target)
            else:
                partial.rename(target)
            sync(target.parent)
        except OSError as error:
            raise _cannot_write(target, error, kind) from error


@contextmanager
def scratch_folder(target: Path, kind: FolderKind = BUNDLE) -> Iterator[Path]:
    """Yields an empty folder beside `target` that is removed after the block, or by the next run."""
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftover_folders(target)
            partial = stack.enter_context(new_folder(target))
        except OSError as error:
            raise _cannot_write(target, error, kind) from error
        yield partial


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


def _cannot_write(target: Path, error: OSError, kind: FolderKind) -> OutputError:
    return OutputError(f"cannot write {target} ({error.strerror}); choose another folder with {kind.option}")
