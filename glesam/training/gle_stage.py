"""Stages "base" and "gle": a U-Net that restores embeddings, then its LoRA adaptation to 256 channels.

There is no Stable Diffusion at nano size, so its part is played by a U-Net of ours that restores the
four channels CRE leaves of an embedding (their sums by index mod 4). It is then frozen, and stage 1 of
the paper adapts it with LoRA: MSE(gamma z_hat, gamma z_H), z_H the embedding of the clean picture.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import mse_loss

from glesam.config import EMBEDDING_CHANNELS
from glesam.data.batches import Batch
from glesam.gle import LATENT_CHANNELS
from glesam.model import GleSam
from glesam.training.loop import Losses

REPEATS = EMBEDDING_CHANNELS // LATENT_CHANNELS


def base_losses(model: GleSam, base: UNet2DConditionModel, batch: Batch) -> Losses:
    """Equation (4) with the base U-Net behind CRE, whose repetition is written as a sum here."""
    damaged, clean = embeddings_of(model, batch)
    gle = model.gle
    groups = damaged.reshape(-1, REPEATS, LATENT_CHANNELS, *damaged.shape[-2:])
    sums = gle.gamma * groups.sum(1)
    context = gle.get_buffer("text_embedding").expand(len(sums), -1, -1)
    noise = base(sums, gle.config.timestep, context).sample.repeat(1, REPEATS, 1, 1)
    restored = gle.skip_scale * damaged - gle.noise_scale * noise
    return restoration_losses(restored, damaged, clean, gle.gamma)


def gle_losses(model: GleSam, batch: Batch) -> Losses:
    damaged, clean = embeddings_of(model, batch)
    return restoration_losses(model.enhance(damaged), damaged, clean, model.gle.gamma)


@torch.no_grad()
def embeddings_of(model: GleSam, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings of the degraded and of the clean pictures, [B, 256, S/16, S/16] each.

    The encoder must be in eval mode: its running statistics are part of what is restored.
    """
    clean, damaged = (model.encode(model.normalize(x)) for x in (batch.image, batch.degraded))
    return damaged.to(batch.image.dtype), clean.to(batch.image.dtype)


def restoration_losses(restored: Tensor, damaged: Tensor, clean: Tensor, gamma: float) -> Losses:
    loss = mse_loss(gamma * restored, gamma * clean)
    before = mse_loss(gamma * damaged, gamma * clean)
    return {"loss": loss, "before": before.detach()}
