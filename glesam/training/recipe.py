"""The recipe of `nano`: every stage in order, each from where its checkpoint left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from glesam.data.batches import Batch, BatchPlan, SamplePool, prefetch
from glesam.model import GleSam
from glesam.training.loop import LoopConfig, train
from glesam.training.sam_stage import sam_losses

Report = Callable[[str], None]


@dataclass(frozen=True)
class SamStage:
    """SAM from scratch, first on small pictures, then at the model's size."""

    small: LoopConfig = LoopConfig(steps=2000, lr=1e-3, warmup=150, weight_decay=0.05)
    small_size: int = 256
    small_batch: int = 8
    full: LoopConfig = LoopConfig(steps=300, lr=3e-4, warmup=30, weight_decay=0.05, seed=1)
    full_batch: int = 4


def sam_parts(model: GleSam) -> nn.Module:
    return nn.ModuleDict(
        {
            "image_encoder": model.image_encoder,
            "prompt_encoder": model.prompt_encoder,
            "mask_decoder": model.mask_decoder,
        }
    )


def batches(pool: SamplePool, plan: BatchPlan) -> Callable[[range], Iterator[Batch]]:
    return partial(prefetch, pool, plan)


def train_sam(model: GleSam, pool: SamplePool, run: Path, stage: SamStage, report: Report) -> None:
    size = model.config.sam.image_size
    parts = sam_parts(model).train()
    small = BatchPlan(stage.small_batch, stage.small_size, stage.small.seed)
    full = BatchPlan(stage.full_batch, size, stage.full.seed)
    for plan, loop in ((small, stage.small), (full, stage.full)):
        checkpoint = run / f"sam-{plan.image_size}.pt"
        train(parts, batches(pool, plan), partial(sam_losses, model), loop, checkpoint, report)
