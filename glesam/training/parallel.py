"""Batches as trees of tensors whose first axis holds rows, and the work that processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from glesam_runtime.errors import CheckpointError, InputError

BatchT = TypeVar("BatchT")
"""A tensor, or a tuple or a frozen dataclass of such trees."""


def map_tensors(batch: BatchT, change: Callable[[Tensor], Tensor]) -> BatchT:
    """Returns the batch with every tensor changed."""
    tree: Any = batch
    if isinstance(tree, Tensor):
        tree = change(tree)
        return tree  # type: ignore[no-any-return]
    if isinstance(tree, tuple):
        return tuple(map_tensors(part, change) for part in tree)  # type: ignore[return-value]
    changed = {field.name: map_tensors(getattr(tree, field.name), change) for field in fields(tree)}
    return replace(tree, **changed)  # type: ignore[no-any-return]


def to_device(batch: BatchT, device: torch.device) -> BatchT:
    """Returns the batch with every tensor on `device`."""
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def micro_batches(batch: BatchT, count: int) -> list[BatchT]:
    """`count` equal parts in order; every tensor's first axis must be a multiple of it."""
    return [map_tensors(batch, partial(_part, count, index)) for index in range(count)]


def _part(count: int, index: int, tensor: Tensor) -> Tensor:
    size, rest = divmod(len(tensor), count)
    if rest:
        raise InputError(f"{len(tensor)} rows cannot be worked off in {count} equal parts")
    return tensor[index * size : (index + 1) * size]


def rows_of(accelerator: Accelerator, batch_size: int, accumulation: int) -> range:
    """This process's rows of the batch that all processes share.

    Args:
        batch_size: rows of one step, over all processes.
        accumulation: equal parts into which each process splits its rows.

    Raises:
        InputError: processes and their parts would not be equal.
    """
    processes = accelerator.num_processes
    if batch_size % (processes * accumulation):
        raise InputError(
            f"batch_size {batch_size}, the pictures of one step, is not a multiple of "
            f"{processes} processes x accumulation {accumulation}; change one of the three"
        )
    own = batch_size // processes
    return range(accelerator.process_index * own, (accelerator.process_index + 1) * own)


def average_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """The mean over all processes, in place; every process has gradients for the same parameters."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if accelerator.num_processes == 1 or not gradients:
        return
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def on_the_main_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """Runs `work` there alone; where it refuses, all processes do, and none waits for the others in vain.

    Raises:
        CheckpointError: work raised it, ValueError or OSError; with the same words.
    """
    refusal: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except (OSError, ValueError) as error:
            refusal = [str(error)]
    broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise CheckpointError(refusal[0])
