"""Files that are replaced whole: one by one, or several together."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import OutputError
from .folders import MANIFEST
from .temporary import new_file, remove_leftover_files, sync

_LARGEST_MANIFEST = 16 * 2**20
_DEPTH_IN_BUNDLE = 3
_tidied: set[Path] = set()
"""Folders in which this process has looked for leftovers: a folder of results may hold 100,000 files."""


def write_files(contents: Mapping[Path, bytes], option: str = "--out", outdated: Sequence[Path] = ()) -> None:
    """Writes all files, so that none is ever seen half-written; folders are made as needed.

    Several switch together: the old ones are removed before the first new one appears, so that files of two
    runs never lie beside each other, wherever the process is killed. `outdated`: files of an earlier run that
    are removed with them.
    Raises OutputError where the folder or the disk refuses, where anything but a file would be replaced, or a
    file of a bundle; `option` is the command's option for the path.
    """
    try:
        with ExitStack() as stack:
            temporary = {path: _written(stack, path, content) for path, content in contents.items()}
            for path in contents:
                check_replaceable_file(path)
            if len(contents) + len(outdated) > 1:
                for path in (*outdated, *contents):
                    path.unlink(missing_ok=True)
            for path in contents:
                os.replace(temporary[path], path)
            for folder in {path.parent for path in contents}:
                sync(folder)
    except OSError as error:
        raise OutputError(
            f"cannot write {error.filename or next(iter(contents))} ({error.strerror}); "
            f"choose another folder with {option}, or free some space"
        ) from error


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path beside `path`; its file replaces `path` when the block ends without an error.

    Raises:
        OSError: the folder or the disk refuses, or `path` is no file, or a file of a bundle.
    """
    path = Path(path)
    _prepare(path)
    with new_file(path, "partial") as (partial, descriptor):
        mode = os.fstat(descriptor).st_mode
        yield partial
        partial.chmod(mode)  # safetensors writes files that only their owner can read
        sync(partial)
        check_replaceable_file(path)
        os.replace(partial, path)
        sync(path.parent)


def check_replaceable_file(path: Path) -> None:
    """Raises FileExistsError or IsADirectoryError where a file must not take the place of what is there.

    A link is replaced itself, and what it leads to stays; it is refused where that is a device or a pipe.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is no file", path)
    if path.exists() and (bundle := _bundle_with(path)) is not None:
        raise FileExistsError(errno.EEXIST, f"it is a file of the bundle {bundle}", path)


def _written(stack: ExitStack, path: Path, content: bytes) -> Path:
    """Writes and flushes `content` to a temporary file beside `path`, which `stack` removes."""
    _prepare(path)
    temporary, descriptor = stack.enter_context(new_file(path, "tmp"))
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or path
        raise
    return temporary


def _prepare(path: Path) -> None:
    """Makes the folder of `path` and removes what killed runs left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable_file(path)
    folder = path.parent.resolve()
    if folder not in _tidied:
        _tidied.add(folder)
        remove_leftover_files(folder)


def _bundle_with(path: Path) -> Path | None:
    """Returns the folder of the bundle that lists the file at `path`; None where there is none."""
    path = path.parent.resolve() / path.name
    for folder in path.parents[:_DEPTH_IN_BUNDLE]:
        manifest = folder / MANIFEST
        if manifest.is_file() and manifest.stat().st_size <= _LARGEST_MANIFEST:
            name = path.relative_to(folder).as_posix()
            return folder if name in {MANIFEST, f"{MANIFEST}.sha256"} | _listed(manifest) else None
    return None


def _listed(manifest: Path) -> set[str]:
    """Returns the names of the files that a manifest lists; an unreadable one lists none."""
    try:
        return set(json.loads(manifest.read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
