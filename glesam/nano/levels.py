"""Stage "level": what an adaptive GLE's head learns from, and its loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu

from glesam.data.batches import SamplePool, prefetch
from glesam.degradation_level import MOST_DEGRADED, DegradationHead
from glesam.nano.pairs import LeveledPairs, PairedViews
from glesam.official.tensor_files import read_tensors
from glesam.tensor_output import write_tensors
from glesam.training.loop import LoopConfig, Losses
from glesam_runtime.tools.progress import track

MARGIN = 0.25
"""How far below 0 training pushes the unbounded level of clean pictures, so that they are bounded to 0."""


@dataclass(frozen=True)
class LevelStage:
    """An adaptive GLE's head learns from `batch` whole views, clean and degraded."""

    loop: LoopConfig
    batch: int = 16


def view_levels(views: PairedViews, pool: SamplePool, folder: Path) -> Tensor:
    """Degradation levels of all views, float32 [count], drawn once and kept in `folder`."""
    drawn = f"{views.plan} {views.count} {pool.fingerprint()}"
    path = folder / f"levels-{hashlib.sha256(drawn.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        levels = [views.level(pool, i) for i in track(range(views.count), views.count, "levels of views")]
        write_tensors({"levels": torch.tensor(levels)}, path)
    return read_tensors(path)["levels"]


def leveled_batches(
    views: PairedViews, levels: Tensor, stage: LevelStage, steps: range
) -> Iterator[LeveledPairs]:
    """The batch of each step, with the next one read ahead."""
    return prefetch(lambda step: views.leveled_pairs(levels, stage.batch, stage.loop.seed, step), steps)


def level_losses(head: DegradationHead, batch: LeveledPairs) -> Losses:
    """Squared error of the levels of degraded pictures, and of clean ones above -`MARGIN`.

    Beside the loss: `error`, the mean distance of the bounded level from the true one, and `clean`, the mean
    bounded level of clean pictures.
    """
    clean, degraded = head.unbounded(batch.clean).float(), head.unbounded(batch.degraded).float()
    bounded = degraded.detach().clamp(0.0, MOST_DEGRADED)
    return {
        "loss": mse_loss(degraded, batch.levels) + relu(clean + MARGIN).square().mean(),
        "error": (bounded - batch.levels).abs().mean(),
        "clean": clean.detach().clamp(0.0, MOST_DEGRADED).mean(),
    }
