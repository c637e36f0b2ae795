"""Stages "base" and "gle": a U-Net that restores embeddings, then its LoRA adaptation.

Stage 1 of the paper, "gle", trains LoRA alone on a frozen U-Net: MSE(gamma z_hat, gamma z_H), z_H the
embedding of the clean picture. There is no Stable Diffusion at nano size, so "base" comes before it and
trains the U-Net's own weights on the same task. CRE's `conv_in` and `conv_out` stay as they were drawn:
through their four channels nothing passes that would be worth training, and the base sees and mends the
embedding through their LoRA.

nano adds what the frozen mask decoder makes of z_hat (`task` above 0): of all ways to be as near to z_H,
it prefers those that keep masks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.loop import Losses
from glesam.training.mask_loss import segmentation_losses

CRE = ("unet.conv_in.", "unet.conv_out.")


def select_base(model: GleSam) -> None:
    """Freezes all but the U-Net's own weights and the LoRA of its first and last convolution."""
    model.requires_grad_(False)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_(("lora_" in name) == name.startswith(CRE))


def select_lora(model: GleSam) -> None:
    """Freezes all but GLE's LoRA."""
    model.requires_grad_(False)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_("lora_" in name)


def gle_losses(model: GleSam, batch: Batch, task: float = 0.0) -> Losses:
    """`task`: weight of the mask decoder's losses on what was restored."""
    damaged, clean = embeddings_of(model, batch)
    restored = model.enhance(damaged)
    losses = restoration_losses(restored, damaged, clean, model.gle.gamma)
    if not task:
        return losses
    masks = segmentation_losses(model, restored, batch)
    return {**losses, "loss": losses["loss"] + task * masks["loss"], "iou": masks["iou"]}


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
