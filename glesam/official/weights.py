"""Checks the values of loaded weights: plain finite floats, or the file is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from glesam_runtime.errors import CheckpointError


def check_plain(tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Raises CheckpointError for tensors that are sparse, complex, quantized, or without values (meta)."""
    for name, tensor in tensors.items():
        if kind := _odd_kind(tensor):
            raise CheckpointError(
                f"{source}: {name} is {kind}; expected dense tensors of numbers, "
                "as torch.save writes a model's state dict"
            )


def check_floats(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str | Path,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Raises CheckpointError where weights are integers or not finite.

    `expected` has the model's dtypes; `name_in_file` says how the file calls a tensor, for the message.
    """
    for name, tensor in tensors.items():
        if name not in expected or not expected[name].is_floating_point():
            continue
        if not tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{source}: {name_in_file(name)} holds {dtype}, expected floats; "
                "give weights that are not quantized"
            )
        if not tensor.is_meta and not _is_finite(tensor):
            raise CheckpointError(
                f"{source}: {name_in_file(name)} holds NaN or infinite values; "
                "give a checkpoint from before training diverged"
            )


def _odd_kind(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "a tensor without values (meta)"
    if tensor.is_complex():
        return "complex"
    return "quantized" if tensor.is_quantized else None


def _is_finite(tensor: Tensor) -> bool:
    """True where all values are finite as float32, in which they are used."""
    return bool(tensor.float().isfinite().all())
