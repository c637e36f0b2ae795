"""The recipe of `nano`: every stage in order, each resumed from its checkpoint.

1. "sam": image encoder, from ImageNet weights, and mask decoder learn on clean pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from glesam.data.batches import BatchPlan, SamplePool
from glesam.model import GleSam
from glesam.nano.batches import RegionPlan, prompt_batches
from glesam.nano.encoder import NanoEncoder
from glesam.nano.imagenet import imagenet_weights
from glesam.nano.losses import clean_losses
from glesam.training.checkpoint import Identity
from glesam.training.loop import LoopConfig, Losses, Player, train_players
from glesam.training.stage_config import Precision
from glesam.training.watch import Lines, Watcher

HARMLESS = frozenset({"save_every", "report_every"})
"""Settings that change no weight."""
PASTE_SHARE = 0.2
"""Fraction of pictures into which objects of others are pasted."""
PRECISION: Precision = "bf16"


@dataclass(frozen=True)
class SamStage:
    """Stage "sam": its loop, and how its views are drawn.

    Most steps are on crops of `crop_px`, a quarter as dear as whole pictures; every `whole_every`th step, and
    all from step `whole_from` on, is on whole pictures. The backbone's stem, its blocks before `first_block`
    and its depthwise filters stay ImageNet's; the rest of it learns at `backbone_rate` times the rate.
    """

    loop: LoopConfig
    crop_px: int = 256
    crop_batch: int = 8
    crop_scale: tuple[float, float] = (1.0, 2.5)
    whole_px: int = 512
    whole_batch: int = 4
    whole_scale: tuple[float, float] = (0.75, 1.5)
    whole_every: int = 4
    whole_from: int = 10_000
    objects: int = 8
    regions: RegionPlan = RegionPlan()  # noqa: RUF009 - frozen
    first_block: int = 3
    backbone_rate: float = 0.2

    def plan(self, step: int) -> BatchPlan:
        """How the views of a step are drawn."""
        whole = step >= self.whole_from or step % self.whole_every == 0
        return BatchPlan(
            self.whole_batch if whole else self.crop_batch,
            self.whole_px if whole else self.crop_px,
            self.loop.seed,
            objects_per_image=self.objects,
            scale=self.whole_scale if whole else self.crop_scale,
            paste_share=PASTE_SHARE,
        )


@dataclass(frozen=True)
class Recipe:
    """All stages, in the order they run."""

    sam: SamStage


NANO = Recipe(sam=SamStage(LoopConfig(12_000, lr=1e-3, clip=1.0, average=0.998, seed=1)))


@dataclass(frozen=True)
class Run:
    """The folder of a run's checkpoints, its watcher, and the device it is computed on."""

    folder: Path
    watch: Watcher = Lines()  # noqa: RUF009 - frozen
    accelerator: Accelerator | None = None

    def train(
        self,
        name: str,
        module: nn.Module,
        batches: Callable[[range], Iterator[Any]],
        player: Player[Any],
        loop: LoopConfig,
        settings: dict[str, Any],
    ) -> None:
        """One stage; a checkpoint of other settings or of another model is refused."""
        identity = Identity({**asdict(loop), **settings}, HARMLESS)
        checkpoint = self.folder / f"{name}.pt"
        train_players(module, batches, [player], loop, checkpoint, self.watch, self.accelerator, identity)


def train_model(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """Trains `model`; checkpoints and the state of every stage lie in the run's folder."""
    train_sam(model, pool, run, recipe.sam)
    model.eval()


def train_sam(model: GleSam, pool: SamplePool, run: Run, stage: SamStage) -> None:
    """Image encoder and mask decoder, on crops and whole pictures."""
    encoder = model.image_encoder
    assert isinstance(encoder, NanoEncoder)
    encoder.backbone.load_imagenet(imagenet_weights())
    model.requires_grad_(True)
    parts = nn.ModuleDict({"image_encoder": encoder, "mask_decoder": model.mask_decoder}).train()
    slow = encoder.backbone.trained_from(stage.first_block)
    backbone = set(encoder.backbone.parameters())
    fast = [parameter for parameter in parts.parameters() if parameter not in backbone]
    player = Player(fast, partial(clean_losses, model), slow=slow, slow_rate=stage.backbone_rate)
    source = prompt_batches(pool, stage.plan, stage.regions)
    run.train("sam", parts, source, player, stage.loop, settings_of(model, stage))


def settings_of(model: GleSam, stage: Any) -> dict[str, Any]:  # noqa: ANN401 - any stage's dataclass
    """What distinguishes one run of a stage from another, besides its loop."""
    values = asdict(stage)
    del values["loop"]
    return {"model": digest(model), **values}


def digest(model: GleSam) -> str:
    """Hash of the configuration of SAM's part; its weights come from the first stage's seed."""
    return hashlib.sha256(repr(model.config.sam).encode()).hexdigest()[:16]


def random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """Normal draws of a seed, the same on every device."""
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
