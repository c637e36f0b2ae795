"""Limits on files of weights, checked before anything of them is read into memory."""

from __future__ import annotations

from pathlib import Path
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

from glesam.pickle_depth import is_deep
from glesam_runtime.errors import CheckpointError
from glesam_runtime.image_io.file_kinds import not_a_file

MOST_BYTES = 2**35
"""Largest file of weights: 32 GiB. The largest that is published for these models has 8."""
_OLD_PICKLES = 5  # at the start of a file older than torch 1.6
MOST_PICKLE_BYTES = 2**28
"""Largest description of the tensors in a file of torch.save."""


def check_is_file(path: str | Path) -> None:
    """Raises CheckpointError for a pipe or a device, which would be waited for."""
    if (found := not_a_file(path)) in ("a pipe", "a device"):
        raise CheckpointError(f"{path} is {found}; expected a file")


def check_weights_file(path: str | Path) -> None:
    """Raises CheckpointError where a file of weights is too large, or would grow in memory when it is read.

    torch.save never compresses, so an archive that does was not written by it: a megabyte of it could hold a
    terabyte of zeros. A file that is missing or no archive is left to its reader.
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
        return
    with path.open("rb") as file:
        if not is_zipfile(file):
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(path, file)
            return
    _check_archive(path)


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
