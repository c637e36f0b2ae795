"""The recipe of `nano`: every stage in order, each resumed from its checkpoint.

Training from scratch has batch norm, and its decoder's masks are few: it runs on one process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from glesam.data.batches import BatchPlan, SamplePool, batches
from glesam.model import GleSam
from glesam.nano.adapter_start import start_adapters
from glesam.nano.sam_stage import EdgeHead, attend_by_place, sam_losses
from glesam.training.checkpoint import Identity
from glesam.training.encoded_views import VIEWS, EncodedViews, Mixture
from glesam.training.loop import LoopConfig, Losses, train
from glesam.training.mask_loss import NANO_LOSS
from glesam.training.settings import Precision
from glesam.training.stage_losses import encoded_losses, gle_losses, select_decoder, select_lora
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Lines, Watcher

HARMLESS = frozenset({"save_every", "report_every"})
"""Settings that change no weight."""
PASTE_SHARE = 0.3
"""Fraction of pictures into which objects of others are pasted."""
START_BATCHES = 16
"""Batches from which GLE's adapters take their start."""
TASK_WEIGHT = 1.0
"""Weight of the mask decoder's losses beside the squared error, while GLE is trained."""
CRE = ("unet.conv_in.", "unet.conv_out.")
"""The convolutions that channel replication and expansion widened."""


@dataclass(frozen=True)
class Stage:
    """One stage: its loop, the side of its pictures [px], pictures per batch, and their zoom."""

    loop: LoopConfig
    image_size: int
    batch_size: int
    scale: tuple[float, float] = (0.75, 1.5)
    clean_share: float = 0.2

    def plan(self, *, with_degraded: bool) -> BatchPlan:
        return BatchPlan(
            self.batch_size,
            self.image_size,
            self.loop.seed,
            scale=self.scale,
            with_degraded=with_degraded,
            clean_share=self.clean_share,
            paste_share=PASTE_SHARE,
        )


@dataclass(frozen=True)
class DecoderStage(Stage):
    """A stage on views that are encoded once; `feedback` as in `MaskLoss`."""

    views: int = 9000
    mixture: Mixture = Mixture(raw_share=0.2, mixed_share=0.2)  # noqa: RUF009 - frozen
    feedback: float = 0.15


@dataclass(frozen=True)
class Recipe:
    """All stages, in the order they run."""

    sam_small: Stage
    sam: Stage
    base: Stage
    gle: Stage
    decoder: DecoderStage


CROP_PX, CROP_SCALE = 256, (1.0, 2.5)
"""Crops with the detail that whole pictures have at 256 to 640 px."""
NANO = Recipe(
    sam_small=Stage(LoopConfig(7000, lr=7e-4, clip=1.0, average=0.999, seed=1), CROP_PX, 8, CROP_SCALE),
    sam=Stage(LoopConfig(1700, lr=5e-4, clip=1.0, average=0.999, seed=2), 512, 4),
    base=Stage(LoopConfig(1800, lr=8e-4, warmup=50, clip=1.0, average=0.99, seed=3), CROP_PX, 8, CROP_SCALE),
    gle=Stage(LoopConfig(300, lr=7e-4, warmup=50, clip=1.0, average=0.99, seed=4), CROP_PX, 8, CROP_SCALE),
    decoder=DecoderStage(
        LoopConfig(3600, lr=8e-4, clip=1.0, average=0.998, seed=5), 512, 8, clean_share=0.35
    ),
)
"""Encoder and GLE: about two hours on two cores with bf16, by the seconds per step measured while the shipped
ones trained, beside another decoder. The decoder: an hour and a half on two cores in fp32, .23 s a view and
.9 s a step (bf16, which the command computes in, was not timed). How the shipped model came about:
glesam/models/nano/README.md."""
PRECISION: Precision = "bf16"
"""On a CPU with AVX-512 BF16 a step of the first stage took .25 s, not .4 s, before there was a guide."""


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
        losses: Callable[[Any], Losses],
        stage: Stage,
        model: GleSam,
    ) -> None:
        """One stage of `model`; a checkpoint of other settings or another model is refused."""
        checkpoint = self.folder / f"{name}.pt"
        values = {"model": digest(model), **asdict(stage.loop), **asdict(stage)}
        del values["loop"]
        identity = Identity(values, HARMLESS)
        train(module, batches, losses, stage.loop, checkpoint, self.watch, self.accelerator, identity)


def digest(model: GleSam) -> str:
    """Hash of the configuration; the weights come from the first stage's seed."""
    return hashlib.sha256(model.config.to_json().encode()).hexdigest()[:16]


def train_model(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """Trains `model` from scratch; checkpoints and the state of every stage lie in the run's folder."""
    train_sam(model, pool, run, recipe)
    model.eval()
    train_gle(model, pool, run, recipe)
    train_decoder(model, pool, run, recipe.decoder)
    model.eval()


def train_sam(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """All of SAM on crops, then on whole pictures."""
    edge_head = EdgeHead().to(next(model.parameters()).device)
    parts = nn.ModuleDict(
        {
            "image_encoder": model.image_encoder,
            "prompt_encoder": model.prompt_encoder,
            "mask_decoder": model.mask_decoder,
            "edge_head": edge_head,
        }
    ).train()
    attend_by_place(model)
    for name, stage in (("sam-small", recipe.sam_small), ("sam", recipe.sam)):
        source = batches(pool, stage.plan(with_degraded=False))
        run.train(name, parts, source, partial(sam_losses, model, edge_head), stage, model)


def select_base(model: GleSam) -> None:
    """Freezes all but the U-Net's own weights and the LoRA of its first and last convolution.

    There is no Stable Diffusion at nano's size, so stage "base" trains the U-Net before LoRA adapts it. CRE's
    convolutions stay as they were drawn: nothing worth training passes through their four channels, and
    the base reads and corrects the embedding through their LoRA.
    """
    model.requires_grad_(False)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_(("lora_" in name) == name.startswith(CRE))


def train_gle(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """The base U-Net, then LoRA on top of it."""
    context = model.gle.get_buffer("text_embedding")
    context.copy_(random_like(context, recipe.base.loop.seed))
    source = batches(pool, recipe.base.plan(with_degraded=True))
    start_adapters(model, source(range(START_BATCHES)), recipe.base.loop.seed)
    losses = partial(gle_losses, model, task=TASK_WEIGHT)
    for name, select, stage in (("base", select_base, recipe.base), ("gle", select_lora, recipe.gle)):
        select(model)
        source = batches(pool, stage.plan(with_degraded=True))
        run.train(name, model.gle, source, losses, stage, model)


def train_decoder(model: GleSam, pool: SamplePool, run: Run, stage: DecoderStage) -> None:
    """Every parameter of the mask decoder; the prompt encoder stays as SAM left it."""
    select_decoder(model, train_iou_head=True)
    views = EncodedViews(run.folder / VIEWS, stage.views, stage.plan(with_degraded=True), stage.mixture)
    encoder = ViewEncoder(model, pool, run.accelerator or Accelerator(), run.watch)
    losses = partial(encoded_losses, model, loss=replace(NANO_LOSS, feedback=stage.feedback))
    model.mask_decoder.train()  # its batch norms still learn; what is before them is encoded already
    run.train("decoder", model.mask_decoder, encoder.batches(views), losses, stage, model)


def random_like(tensor: Tensor, seed: int) -> Tensor:
    """Normal draws of a seed, the same on every device."""
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
