"""The recipe of `nano`: every stage in order, each from where its checkpoint left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from glesam.data.batches import Batch, BatchPlan, SamplePool, prefetch
from glesam.gle import build_base_unet, load_base_weights
from glesam.model import GleSam
from glesam.training.decoder_stage import decoder_losses
from glesam.training.gle_stage import base_losses, gle_losses
from glesam.training.loop import LoopConfig, train
from glesam.training.sam_stage import sam_losses
from glesam.training.shapes_stage import attend_by_place, shape_batches, shape_losses

Report = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """One stage: its loop, the side of its pictures [px], how many make a batch, and their zoom."""

    loop: LoopConfig
    image_size: int
    batch_size: int
    scale: tuple[float, float] = (0.75, 1.5)

    def plan(self, *, with_degraded: bool) -> BatchPlan:
        return BatchPlan(
            self.batch_size,
            self.image_size,
            self.loop.seed,
            scale=self.scale,
            with_degraded=with_degraded,
        )


@dataclass(frozen=True)
class Recipe:
    """All stages, in the order they run. `image_size` of the last four is the model's own."""

    shapes: Stage
    sam_small: Stage
    sam: Stage
    base: Stage
    gle: Stage
    decoder: Stage


NANO = Recipe(
    shapes=Stage(LoopConfig(steps=800, lr=1e-3, clip=1.0), 128, 16),
    sam_small=Stage(LoopConfig(steps=850, lr=8e-4, clip=1.0, seed=1), 256, 8, scale=(1.0, 2.5)),
    sam=Stage(LoopConfig(steps=110, lr=3e-4, clip=1.0, warmup=20, seed=2), 512, 4),
    base=Stage(LoopConfig(steps=110, lr=1e-3, clip=1.0, warmup=20, seed=3), 512, 4),
    gle=Stage(LoopConfig(steps=170, lr=5e-3, clip=1.0, warmup=20, seed=4), 512, 4),
    decoder=Stage(LoopConfig(steps=120, lr=3e-4, clip=1.0, warmup=10, seed=5), 512, 4),
)
"""About an hour on two cores. The shipped weights: see glesam/models/nano/README.md."""


def train_model(model: GleSam, pool: SamplePool, run: Path, recipe: Recipe, report: Report) -> None:
    """Trains `model` from scratch; checkpoints and the state of every stage lie in `run`."""
    train_sam(model, pool, run, recipe, report)
    model.eval()
    train_gle(model, pool, run, recipe, report)
    train_decoder(model, pool, run, recipe.decoder, report)
    model.eval()


def train_sam(model: GleSam, pool: SamplePool, run: Path, recipe: Recipe, report: Report) -> None:
    """The decoder on shapes, then all of SAM on small pictures, then at full size."""
    parts = nn.ModuleDict(
        {
            "image_encoder": model.image_encoder,
            "prompt_encoder": model.prompt_encoder,
            "mask_decoder": model.mask_decoder,
        }
    ).train()
    attend_by_place(model)
    first = recipe.shapes
    shapes = partial(shape_batches, first.image_size, first.batch_size, first.loop.seed)
    losses = partial(shape_losses, model)
    train(parts, shapes, losses, first.loop, run / "shapes.pt", report)
    for name, stage in (("sam-small", recipe.sam_small), ("sam", recipe.sam)):
        source = batches(pool, stage.plan(with_degraded=False))
        train(parts, source, partial(sam_losses, model), stage.loop, run / f"{name}.pt", report)


def train_gle(model: GleSam, pool: SamplePool, run: Path, recipe: Recipe, report: Report) -> None:
    """The base U-Net, then LoRA on top of it."""
    generator = torch.Generator().manual_seed(recipe.base.loop.seed)
    model.gle.get_buffer("text_embedding").normal_(generator=generator)
    torch.manual_seed(recipe.base.loop.seed)
    base = build_base_unet(model.config.gle.unet)
    source = batches(pool, recipe.base.plan(with_degraded=True))
    losses = partial(base_losses, model, base)
    train(base, source, losses, recipe.base.loop, run / "base.pt", report)
    load_base_weights(model.gle.unet, base)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_("lora_" in name)
    source = batches(pool, recipe.gle.plan(with_degraded=True))
    train(model.gle, source, partial(gle_losses, model), recipe.gle.loop, run / "gle.pt", report)


def train_decoder(model: GleSam, pool: SamplePool, run: Path, stage: Stage, report: Report) -> None:
    """Every parameter of the mask decoder; the prompt encoder stays as SAM left it."""
    source = batches(pool, stage.plan(with_degraded=True))
    losses = partial(decoder_losses, model)
    train(model.mask_decoder, source, losses, stage.loop, run / "decoder.pt", report)


def batches(pool: SamplePool, plan: BatchPlan) -> Callable[[range], Iterator[Batch]]:
    return partial(prefetch, pool, plan)
