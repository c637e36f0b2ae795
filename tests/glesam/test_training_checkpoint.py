"""A training checkpoint that holds another run's state, or none, is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glesam.training.checkpoint import Checkpoint
from glesam_runtime.errors import CheckpointError

State = dict[str, Any]


def checkpoint_at(path: Path) -> Checkpoint:
    """A module that has made a step, so that its optimizer has moments."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return Checkpoint(path, module, [optimizer])


def misshapen_moment(state: State) -> None:
    state["optimizers"][0]["state"][0]["exp_avg"] = torch.zeros(7)


def no_optimizer(state: State) -> None:
    state["optimizers"] = []


def another_groups_size(state: State) -> None:
    state["optimizers"][0]["param_groups"][0]["params"] = [0]


def numbered_keys(state: State) -> None:
    state["module"] = dict(enumerate(state["module"].values()))


def not_finite(state: State) -> None:
    state["module"]["bias"][0] = float("nan")


def no_step(state: State) -> None:
    del state["step"]


DAMAGES = (misshapen_moment, no_optimizer, another_groups_size, numbered_keys, not_finite, no_step)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_state_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[State], None]
) -> None:
    checkpoint = checkpoint_at(tmp_path / "stage1.pt")
    checkpoint.save(5)
    assert checkpoint.load() == 5
    state = torch.load(checkpoint.path, weights_only=True)
    damage(state)
    torch.save(state, checkpoint.path)
    with pytest.raises(CheckpointError, match=r"stage1\.pt") as caught:
        checkpoint.load()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    """Version 4 had one rate for all parameters of an optimizer."""
    checkpoint = checkpoint_at(tmp_path / "stage1.pt")
    checkpoint.save(5)
    state = torch.load(checkpoint.path, weights_only=True)
    torch.save(state | {"format": 4}, checkpoint.path)
    with pytest.raises(CheckpointError, match="has format 4, this glesam reads 5; train this stage anew"):
        checkpoint.load()


def test_a_pointer_in_a_checkpoints_place_is_named(tmp_path: Path) -> None:
    checkpoint = checkpoint_at(tmp_path / "stage1.pt")
    checkpoint.path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match="found a Git LFS pointer in its place"):
        checkpoint.load()
