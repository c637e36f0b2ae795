"""Files that appear whole or not at all, and what is said where the disk is full."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from glesam.errors import first_line

TORCH_WRITER = "inline_container"
"""Part of what torch's writer says when the disk takes no more; it does not mention the disk."""


@contextmanager
def replaced_file(path: str | Path) -> Iterator[Path]:
    """Yields a path beside `path` whose file takes its place once the block has ended well."""
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


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """A .safetensors file, replaced whole.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(path) as partial, refused_writes(path):
        save_file(dict(tensors), partial, metadata={"format": "pt"})


@contextmanager
def refused_writes(path: str | Path) -> Iterator[None]:
    """torch and safetensors have errors of their own for a full disk: OSError, with a line that says so."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and TORCH_WRITER not in str(error):
            raise
        raise OSError(f"cannot write {path} ({first_line(error)}); free some space on its disk") from error
