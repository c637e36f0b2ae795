"""Limits on files of weights, checked before anything of them is read into memory."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

from safetensors import safe_open

from glesam.pickle_depth import is_deep
from glesam_runtime.errors import CheckpointError
from glesam_runtime.image_io.file_kinds import not_a_file

MOST_BYTES = 2**35
"""Largest file of weights: 32 GiB. The largest that is published for these models has 8."""
MOST_TENSORS = 10_000
"""Most tensors of a safetensors file. Stable Diffusion with its moving averages has 2,400."""
_OLD_PICKLES = 5  # at the start of a file older than torch 1.6
_OLD_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
"""The number that the first of them holds, and how pickle writes it."""
_OLD_START = 32
"""Bytes within which it ends, whatever the pickle's protocol."""
MOST_PICKLE_BYTES = 2**28
"""Largest description of the tensors in a file of torch.save."""


def check_is_file(path: str | Path) -> None:
    """Raises CheckpointError for a pipe or a device, which would be waited for."""
    if (found := not_a_file(path)) in ("a pipe", "a device"):
        raise CheckpointError(f"{path} is {found}; expected a file")


def check_weights_file(path: str | Path) -> None:
    """Raises CheckpointError where a file of weights is too large, or would grow in memory when it is read.

    torch.save never compresses, so an archive that does was not written by it: a megabyte of it could hold a
    terabyte of zeros. A file that is missing, or that torch.save did not write, is left to its reader.
    """
    check_is_file(path)
    path = Path(path)
    if not path.is_file():
        return
    if path.stat().st_size > MOST_BYTES:
        raise CheckpointError(
            f"{path} has {path.stat().st_size / 2**30:.0f} GiB; expected weights, at most "
            f"{MOST_BYTES // 2**30} GiB of them"
        )
    if path.suffix == ".safetensors":
        _check_count(path)
        return
    with path.open("rb") as file:
        if not is_zipfile(file):
            if not _has_old_magic(file):
                return
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(path, file)
            return
    _check_archive(path)


def is_archive(path: Path) -> bool:
    """Whether torch.save wrote an archive, as it does since torch 1.6; older files cannot be mapped.

    Raises UnpicklingError where torch.save did not write the file: torch would unpickle it to find out.
    """
    with path.open("rb") as file:
        zipped = is_zipfile(file)
        if not zipped and not _has_old_magic(file):
            raise UnpicklingError("torch.save did not write it")
    return zipped


def _has_old_magic(file: IO[bytes]) -> bool:
    """Whether it begins as torch.save wrote files before torch 1.6."""
    file.seek(0)
    return _OLD_MAGIC in file.read(_OLD_START)


def _check_count(path: Path) -> None:
    try:
        with safe_open(path, "pt") as file:
            count = len(file.keys())
    except Exception:  # safetensors, the OS and a full memory each raise their own; so will its reader
        return
    if count > MOST_TENSORS:
        raise CheckpointError(f"{path} has {count} tensors; expected weights, at most {MOST_TENSORS} of them")


def _check_archive(path: Path) -> None:
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError):
        return  # its reader says what is wrong
    for entry in entries:
        if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(
                f"{path}: {entry.filename} is compressed, which torch.save never does; expected tensors "
                "as it writes them, or a .safetensors file"
            )
        if entry.filename.endswith(".pkl") and entry.file_size > MOST_PICKLE_BYTES:
            raise CheckpointError(
                f"{path}: {entry.filename} has {entry.file_size / 2**20:.0f} MiB; expected tensors, and "
                f"at most {MOST_PICKLE_BYTES // 2**20} MiB that describe them"
            )
        if entry.filename.endswith(".pkl"):
            with ZipFile(path) as archive, archive.open(entry) as file:
                _check_pickle(path, file)


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    if is_deep(file):
        raise CheckpointError(
            f"{path}: it holds objects that take too long to read; expected tensors as torch.save writes them"
        )
