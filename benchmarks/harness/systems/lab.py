"""What all systems of a table share: pictures, budget, batches, and the folder of their checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from glesam.config import ModelConfig, RobustSamConfig, SamConfig
from glesam.data.batches import BatchPlan, SamplePool, batches
from glesam.model import GleSam
from glesam.nano.recipe import PASTE_SHARE, Run
from glesam.reference import Model
from glesam.restorers.robust_sam import RobustSam
from glesam.training.checkpoint import fingerprint
from glesam.training.loop import LoopConfig, Losses, Player

from .networks import Size

SEED = 0
CLEAN_VIEWS, DEGRADED_VIEWS = 1, 2
"""Seeds of the views of the clean stage, and of those of all other stages, which share them."""
CLEAN_SHARE = 0.2
RATE, LONGEST_WARMUP, CLIP, AVERAGE = 5e-4, 50, 1.0, 0.99
WORKERS = 2
"""Threads that draw batches."""


@dataclass(frozen=True, eq=False)
class Lab:
    """Trains stages of `steps` steps each, all on the same batches, at the same rate, in fp32.

    Stage "sam" has `sam_steps`: what the others repair should be able to segment, as SAM is.

    A finished stage is loaded from its checkpoint in `out`, an interrupted one resumes. One of other steps,
    networks or pictures is refused (CheckpointError).
    """

    size: Size
    pool: SamplePool
    out: Path
    steps: int
    sam_steps: int
    accelerator: Accelerator

    def loop(self, steps: int) -> LoopConfig:
        """Steps and rates of a stage."""
        warmup = min(LONGEST_WARMUP, steps // 10)
        return LoopConfig(steps, lr=RATE, warmup=warmup, clip=CLIP, average=AVERAGE, seed=SEED)

    def clean_views(self, sam: SamConfig) -> BatchPlan:
        """The batches of the stage on clean pictures."""
        return BatchPlan(
            self.size.batch, sam.image_size, CLEAN_VIEWS, paste_share=PASTE_SHARE, squash=sam.squashes
        )

    def degraded_views(self, sam: SamConfig) -> BatchPlan:
        """The batches of all further stages: pictures clean and degraded, as a family's SAM sees them."""
        return BatchPlan(
            self.size.batch,
            sam.image_size,
            DEGRADED_VIEWS,
            with_degraded=True,
            clean_share=CLEAN_SHARE,
            paste_share=PASTE_SHARE,
            squash=sam.squashes,
        )

    def new(self, config: ModelConfig, base: Model | None = None) -> Any:  # noqa: ANN401 - of the config's kind
        """A frozen model; where `base` has a tensor of the same name it is copied, all others are random."""
        torch.manual_seed(SEED)
        model = RobustSam(config) if isinstance(config, RobustSamConfig) else GleSam(config)
        if base is not None:
            own = model.state_dict().keys()
            model.load_state_dict(
                {name: tensor for name, tensor in base.state_dict().items() if name in own}, strict=False
            )
        return model.eval().requires_grad_(False)

    def train(
        self,
        stage: Path,
        model: nn.Module,
        module: nn.Module,
        losses: Callable[[Any], Losses],
        plan: BatchPlan,
        source: Callable[[range], Iterator[Any]] | None = None,
        steps: int | None = None,
    ) -> None:
        """Trains what requires a gradient in `module`, a part of `model`, which then is frozen, on the CPU.

        Args:
            stage: the checkpoint's path below `out`, without its suffix.
            plan: the batches' plan.
            source: the batches, where they hold more than the plan's.
            steps: how many, where it is not `self.steps`.
        """
        model.to(self.accelerator.device)
        player = Player([p for p in module.parameters() if p.requires_grad], losses)
        kind = model.config.to_json() if isinstance(model, GleSam | RobustSam) else str(model)
        settings = {
            "model": fingerprint(model, kind),
            "data": self.pool.fingerprint(),
            "views": str(plan),
        }
        run = Run(self.out / stage.parent, accelerator=self.accelerator)
        drawn = source or batches(self.pool, plan, workers=WORKERS)
        run.train(stage.name, module, drawn, player, self.loop(steps or self.steps), settings)
        model.to("cpu").eval().requires_grad_(False)
