"""SAM on clean pictures, and what GLE and DDIM add to it.

A function for each system trains or loads it. Systems of one family share the stages that are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_STRIDE, GleSamConfig
from glesam.data.batches import Batch, BatchPlan, SamplePool, draw_view_and_rate, make_batch, prefetch
from glesam.ddim import gain
from glesam.degradation_level import level_of_rate
from glesam.model import GleSam
from glesam.nano.gle_losses import prior_losses, restoring_losses
from glesam.nano.levels import level_losses
from glesam.nano.pairs import LeveledPairs, Pairs
from glesam.nano.recipe import select, select_prior, select_restoring, start_gle
from glesam.training.loop import Losses
from glesam.training.mask_loss import segmentation_losses
from glesam.training.stage_losses import decoder_losses, embeddings_of, select_decoder

from .lab import SEED, WORKERS, Lab
from .networks import Family, adaptive, denoising

FOLDER: dict[Family, str] = {"vit": "sam", "hiera": "sam-2"}
"""Folders of the stages that the systems of a family share."""
SAM_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


@dataclass(frozen=True)
class LeveledBatch(Batch):
    """A batch with the degradation levels of its degraded pictures, float32 [B]."""

    levels: Tensor


@cache
def trained_sam(lab: Lab, family: Family) -> GleSam:
    """Stage "sam": all of SAM learns on clean pictures, from random weights. GLE is there, but new."""
    model: GleSam = lab.new(lab.size.config(family))
    start_gle(model, SEED)
    parts = nn.ModuleDict({name: model.get_submodule(name) for name in SAM_PARTS})
    parts.requires_grad_(True).train()

    def losses(batch: Batch) -> Losses:
        return segmentation_losses(model, model.encode_features(model.normalize(batch.image)), batch)

    plan = lab.clean_views(model.config.sam)
    lab.train(Path(FOLDER[family], "sam"), model, parts, losses, plan, steps=lab.sam_steps)
    return model


@cache
def with_prior(lab: Lab, family: Family) -> GleSam:
    """Stage "prior", in the place of Stable Diffusion's training: GLE's U-Net denoises clean embeddings."""
    sam = trained_sam(lab, family)
    model: GleSam = lab.new(aligned(lab, sam), sam)
    select_prior(model.gle)

    def losses(batch: Batch) -> Losses:
        return prior_losses(model.gle, pairs_of(model, batch), side_of(model))

    lab.train(Path(FOLDER[family], "prior"), model, model.gle, losses, lab.degraded_views(model.config.sam))
    return model


@torch.no_grad()
def aligned(lab: Lab, sam: GleSam) -> GleSamConfig:
    """The model's configuration with its gamma divided by the standard deviation of its clean embeddings.

    The gammas of `networks` are meant for a deviation of 1, as nano's embeddings have; that of a SAM trained
    here is known only now. Two digits, so that another number of threads gives the same one.
    """
    batch = make_batch(lab.pool, lab.clean_views(sam.config.sam), step=0)
    deviation = float(sam.encode(sam.normalize(batch.image)).std())
    gle = sam.config.gle
    return replace(sam.config, gle=replace(gle, gamma=float(f"{gle.gamma / deviation:.2g}")))


def tuned_sam(lab: Lab, name: str) -> GleSam:
    """The control: SAM's decoder learns on degraded pictures, with nothing that restores them."""
    model: GleSam = lab.new(lab.size.vit, trained_sam(lab, "vit"))
    tune_decoder(lab, model, name, enhance=False)
    return model


def glesam(lab: Lab, name: str, family: Family) -> GleSam:
    """The paper's two stages: GLE learns to restore embeddings, then the decoder reads restored ones."""
    model: GleSam = lab.new(with_prior(lab, family).config, with_prior(lab, family))
    train_gle(lab, model, name)
    tune_decoder(lab, model, name, enhance=True)
    return model


def adaptive_glesam(lab: Lab, name: str) -> GleSam:
    """GleSAM whose GLE follows the level that its head predicts; the head learns first, in stage "level"."""
    model: GleSam = lab.new(adaptive(with_prior(lab, "vit").config), with_prior(lab, "vit"))
    head, plan = model.gle.level_head, lab.degraded_views(model.config.sam)
    assert head is not None
    select(head, lambda _: True)

    def losses(batch: LeveledBatch) -> Losses:
        pairs = pairs_of(model, batch)
        return level_losses(head, LeveledPairs(pairs.clean, pairs.degraded, batch.levels))

    lab.train(Path(name, "level"), model, head, losses, plan, leveled_batches(lab.pool, plan))
    train_gle(lab, model, name)
    tune_decoder(lab, model, name, enhance=True)
    return model


def denoising_sam(lab: Lab, name: str) -> GleSam:
    """SAM with five DDIM steps in its decoder, and without GLE.

    A new denoiser predicts no noise and only enlarges the image tokens; the one layer that reads them undoes
    it, so that training starts from SAM's own masks.
    """
    model: GleSam = lab.new(denoising(lab.size.vit), trained_sam(lab, "vit"))
    with torch.no_grad():
        model.mask_decoder.get_parameter("output_upscaling.0.weight").div_(gain())
    tune_decoder(lab, model, name, enhance=False)
    return model


def train_gle(lab: Lab, model: GleSam, name: str) -> None:
    """Stage "restore": the U-Net learns to make clean embeddings of degraded ones."""
    select_restoring(model.gle)

    def losses(batch: Batch) -> Losses:
        return restoring_losses(model.gle, pairs_of(model, batch), side_of(model), clean_share=0.0)

    lab.train(Path(name, "restore"), model, model.gle, losses, lab.degraded_views(model.config.sam))


def tune_decoder(lab: Lab, model: GleSam, name: str, *, enhance: bool) -> None:
    """Stage "decoder": the mask decoder learns on degraded pictures, behind GLE where `enhance` says so."""
    select_decoder(model, train_iou_head=True)
    losses = partial(decoder_losses, model, enhance=enhance)
    plan = lab.degraded_views(model.config.sam)
    lab.train(Path(name, "decoder"), model, model.mask_decoder, losses, plan)


def pairs_of(model: GleSam, batch: Batch) -> Pairs:
    """Embeddings of a batch's clean and degraded pictures."""
    degraded, clean = embeddings_of(model, batch)
    return Pairs(clean, degraded)


def side_of(model: GleSam) -> int:
    """Positions along a side of the embedding: GLE learns on whole embeddings."""
    return model.config.sam.image_size // EMBEDDING_STRIDE


def leveled_batches(pool: SamplePool, plan: BatchPlan) -> Callable[[range], Iterator[LeveledBatch]]:
    """The plan's own batches, with levels: each row is drawn again, up to where its rate is."""

    def draw(step: int) -> LeveledBatch:
        rows = [np.random.default_rng((plan.seed, step, row)) for row in range(plan.size)]
        levels = [level_of_rate(draw_view_and_rate(pool, plan, rng)[1]) for rng in rows]
        return LeveledBatch(**vars(make_batch(pool, plan, step)), levels=torch.tensor(levels))

    return lambda steps: prefetch(draw, steps, WORKERS)
