"""Tensors written to files, and the error where the disk is full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from glesam_runtime.errors import first_line
from glesam_runtime.output import replaced_file

TORCH_WRITER = "inline_container"
"""Part of what torch's writer says when the disk takes no more; it does not mention the disk."""


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
