"""Batches are moved and cut as trees of tensors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from glesam.training.parallel import map_tensors, micro_batches, to_device


@dataclass(frozen=True)
class Inner:
    prompts: Tensor


@dataclass(frozen=True)
class Outer:
    images: Tensor
    inner: Inner


BATCH = Outer(torch.arange(4), Inner(torch.arange(8).reshape(8, 1)))


def test_parts_hold_the_rows_in_order_however_many_a_picture_has() -> None:
    first, second = micro_batches(BATCH, 2)
    assert first.images.tolist() == [0, 1]
    assert second.images.tolist() == [2, 3]
    assert first.inner.prompts.flatten().tolist() == [0, 1, 2, 3]
    assert second.inner.prompts.flatten().tolist() == [4, 5, 6, 7]


def test_rows_that_make_no_equal_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="4 rows cannot be worked off in 3 equal parts"):
        micro_batches(BATCH, 3)


def test_every_tensor_is_changed_and_the_batch_stays_as_it_was() -> None:
    doubled = map_tensors(BATCH, lambda tensor: 2 * tensor)
    assert doubled.inner.prompts.flatten().tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert BATCH.images.tolist() == [0, 1, 2, 3]
    moved = to_device(BATCH, torch.device("meta"))
    assert moved.images.is_meta
    assert moved.inner.prompts.is_meta
