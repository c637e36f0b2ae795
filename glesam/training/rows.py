"""Batches as trees of tensors whose first axis holds rows: moved to a device, cut into parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from glesam_runtime.errors import InputError

BatchT = TypeVar("BatchT")
"""A tensor, or a frozen dataclass of tensors and of such dataclasses."""


def map_tensors(batch: BatchT, change: Callable[[Tensor], Tensor]) -> BatchT:
    """The batch with every tensor changed."""
    tree: Any = batch
    if isinstance(tree, Tensor):
        tree = change(tree)
        return tree  # type: ignore[no-any-return]
    changed = {field.name: map_tensors(getattr(tree, field.name), change) for field in fields(tree)}
    return replace(tree, **changed)  # type: ignore[no-any-return]


def to_device(batch: BatchT, device: torch.device) -> BatchT:
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def micro_batches(batch: BatchT, count: int) -> list[BatchT]:
    """`count` equal parts in order; every tensor's first axis must be a multiple of it."""
    return [map_tensors(batch, partial(_part, count, index)) for index in range(count)]


def _part(count: int, index: int, tensor: Tensor) -> Tensor:
    size, rest = divmod(len(tensor), count)
    if rest:
        raise InputError(f"{len(tensor)} rows cannot be worked off in {count} equal parts")
    return tensor[index * size : (index + 1) * size]
