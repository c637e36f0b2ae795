"""Stages 1 and 2 of a model that exists: GLE's LoRA, then the mask decoder, on one process or many.

With a teacher whose U-Net is another, stage 1 trains the whole U-Net (`glesam.training.teacher`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from glesam.config import VitEncoderConfig, check_multiple
from glesam.data.batches import SamplePool, batches
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.training.adapters import enable_checkpointing, remove_student
from glesam.training.checkpoint import Identity, fingerprint
from glesam.training.critic.duel import Duel, with_noise
from glesam.training.encoded_views import VIEWS, EncodedViews
from glesam.training.loop import train, train_players
from glesam.training.parallel import rows_of
from glesam.training.stage_config import (
    HARMLESS,
    RESUMABLE,
    DecoderStageConfig,
    GleStageConfig,
    StageConfig,
)
from glesam.training.stage_losses import (
    decoder_losses,
    encoded_losses,
    gle_losses,
    select_decoder,
    select_lora,
    select_unet,
)
from glesam.training.teacher import distilled_losses, learns_whole
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Lines, Watcher
from glesam_runtime.errors import InputError

CHECKPOINTS = {GleStageConfig: "stage1", DecoderStageConfig: "stage2"}


@dataclass(frozen=True)
class StageRun:
    """The folder of a stage's checkpoint, its watcher, and the device it is computed on.

    `resume`: resume from a checkpoint even where settings that allow it have changed. `teacher`: of stage 1,
    frozen.
    """

    folder: Path
    accelerator: Accelerator
    watch: Watcher = Lines()  # noqa: RUF009 - frozen
    resume: bool = False
    teacher: Gle | None = None

    def rows(self, config: StageConfig) -> range:
        """This process's rows of a batch."""
        return rows_of(self.accelerator, config.batch_size, config.loop.accumulation)

    def where(self, config: StageConfig, model: GleSam) -> dict[str, Any]:
        """The arguments of `train` that identify this run; call it once parameters are frozen."""
        values = {"model": fingerprint(model, model.config.to_json()), **config.settings()}
        if isinstance(config, GleStageConfig):
            values["teacher"] = self.teacher and fingerprint(self.teacher, repr(self.teacher.config))
        return {
            "checkpoint": self.folder / f"{CHECKPOINTS[type(config)]}.pt",
            "watch": self.watch,
            "accelerator": self.accelerator,
            "identity": Identity(values, RESUMABLE if self.resume else HARMLESS, RESUMABLE),
        }


def ready(model: GleSam, config: StageConfig, accelerator: Accelerator, teacher: Gle | None = None) -> GleSam:
    """Returns the model that the stage will train, on its device: `model`, or one with new adapters.

    The teacher of stage 1, if any, is moved there too.

    Raises:
        InputError: the settings do not fit the model, or the processes.
    """
    check_image_size(model, config)
    rows_of(accelerator, config.batch_size, config.loop.accumulation)
    torch.manual_seed(config.loop.seed)
    if teacher is not None:
        teacher.to(accelerator.device)
    if isinstance(config, GleStageConfig):
        check_level_head(model.gle)
        model = with_adapters(model, config, learns_whole(model, teacher))
    elif isinstance(config, DecoderStageConfig) and not config.multimask_share:
        model.disable_dynamic_multimask()  # masks 1 to 3 fade
    return model.to(accelerator.device).eval()


def train_stage(model: GleSam, pool: SamplePool, config: StageConfig, run: StageRun) -> None:
    """Trains what the stage trains of a `ready` model, from the folder's checkpoint on.

    Raises:
        CheckpointError: the checkpoint there is of another run.
        InputError: the loss is not a number any more.
        OSError: a picture cannot be read.
    """
    torch.manual_seed(config.loop.seed)  # of a critic
    if isinstance(config, GleStageConfig):
        train_gle(model, pool, config, run)
    elif isinstance(config, DecoderStageConfig):
        train_decoder(model, pool, config, run)
    model.eval()


def train_gle(model: GleSam, pool: SamplePool, config: GleStageConfig, run: StageRun) -> None:
    """Stage 1: the adapters of GLE alone, or its whole U-Net; with its optional terms, a critic beside it."""
    select = select_unet if learns_whole(model, run.teacher) else select_lora
    select(model)
    if config.gradient_checkpointing:
        enable_checkpointing(model.gle.unet)
    loop, rows = config.loop_for(len(pool)), run.rows(config)
    source = batches(pool, config.plan(model.config.sam), rows, config.workers)
    if not config.distribution_matching and not config.gan:
        losses = partial(gle_losses, model)
        if run.teacher is not None:
            losses = partial(distilled_losses, model, teacher=run.teacher, weight=config.teacher_weight)
        train(model.gle, source, losses, loop, **run.where(config, model))
        return
    duel = Duel(model, config.distribution_matching, config.gan)
    players = duel.players(model, config.generator_every)

    def noised(steps: range) -> Iterator[Any]:
        return with_noise(source(steps), config.loop.seed, steps, rows)

    train_players(duel, noised, players, loop, **run.where(config, model))
    remove_student(model.gle)


def train_decoder(model: GleSam, pool: SamplePool, config: DecoderStageConfig, run: StageRun) -> None:
    """Stage 2: the mask decoder alone."""
    select_decoder(model, train_iou_head=config.train_iou_head)
    sam, loop, rows = model.config.sam, config.loop_for(len(pool)), run.rows(config)
    plan, loss, where = config.plan(sam), config.mask_loss(sam.image_size), run.where(config, model)
    if config.views is None:
        losses = partial(decoder_losses, model, loss=loss, enhance=config.enhance)
        train(model.mask_decoder, batches(pool, plan, rows, config.workers), losses, loop, **where)
        return
    views = EncodedViews(run.folder / VIEWS, config.views, plan, config.mixture(), sam.has_high_res)
    encoder = ViewEncoder(model, pool, run.accelerator, run.watch, config.workers, config.loop.report_every)
    losses = partial(encoded_losses, model, loss=loss)
    train(model.mask_decoder, encoder.batches(views, rows), losses, loop, **where)


def check_image_size(model: GleSam, config: StageConfig) -> None:
    """Raises InputError where the model's image encoder does not take the stage's image size."""
    encoder, own = model.config.sam.encoder, model.config.sam.image_size
    size = config.image_size or own
    if isinstance(encoder, VitEncoderConfig) and size != own:
        raise InputError(f"image_size {size}: this model's ViT encoder takes {own} px alone; leave it out")
    check_multiple(encoder, size)


def check_level_head(gle: Gle) -> None:
    """Raises InputError for an adaptive GLE whose level head answers 0: its U-Net would get no gradient."""
    if gle.level_head is not None and not gle.level_head.is_trained:
        raise InputError(
            "this model's GLE is adaptive and its level head untrained, so that GLE changes no embedding and "
            "stage 1 would learn nothing; train the head first, with glesam.nano.recipe.train_level"
        )


def with_adapters(model: GleSam, config: GleStageConfig, whole: bool = False) -> GleSam:
    """Returns the model with another gamma, or with new adapters of `lora_rank`, where these are set.

    Args:
        whole: the whole U-Net learns, and needs adapters only where it has CRE (`is_full_rank`).

    Raises:
        InputError: neither the model nor the settings have adapters, which are to learn.
    """
    gle = model.config.gle
    if config.gamma is not None:
        gle = replace(gle, gamma=config.gamma)
    if config.lora_rank is not None:
        gle = replace(gle, lora_rank=config.lora_rank, lora_alpha=float(config.lora_rank))
    if not gle.lora_rank and (gle.channel_expansion or not whole):  # whose convolutions learn by LoRA alone
        raise InputError(
            "stage 1 trains a LoRA, and this model has none; set lora_rank, as in "
            '{"stage": 1, "lora_rank": 8}, to add one'
        )
    if gle == model.config.gle and config.lora_rank is None:
        return model
    changed = GleSam(replace(model.config, gle=gle))
    kept = {without_adapter(n): t for n, t in model.state_dict().items() if "lora_" not in n}
    if config.lora_rank is None:
        kept |= {n: t for n, t in model.state_dict().items() if "lora_" in n}
    names = [name for name in changed.state_dict() if without_adapter(name) in kept]
    changed.load_state_dict({name: kept[without_adapter(name)] for name in names}, strict=False)
    return changed


def without_adapter(name: str) -> str:
    """The name that a tensor has where no adapter wraps its layer."""
    return name.replace("base_layer.", "")
