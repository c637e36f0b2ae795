"""What stages 1 and 2 train and minimize: GLE restores embeddings, the mask decoder reads restored ones.

Stage 1 of the paper trains LoRA alone on a frozen U-Net: MSE(gamma z_hat, gamma z_H), z_H the embedding of
the clean picture.

Stage 2 trains the mask decoder on enhanced embeddings of degraded pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from glesam.data.batches import Batch
from glesam.gle import is_full_rank
from glesam.model import GleSam
from glesam.training.encoded_views import EncodedBatch
from glesam.training.loop import Losses
from glesam.training.mask_loss import DEFAULT_LOSS, MaskLoss, segmentation_losses

IOU_HEAD = "iou"
"""Part of the names of the parameters that predict a mask's IoU."""
UNTRAINED = ("pred_obj_score_head", "no_mem_embed")
"""Starts of the names of those parameters of SAM 2's decoder that no stage trains: the object score is not
computed, and the authors' file of a decoder has no `no_mem_embed`."""


def select_lora(model: GleSam) -> None:
    """Freezes all but GLE's LoRA."""
    model.requires_grad_(False)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_("lora_" in name)


def select_unet(model: GleSam) -> None:
    """Freezes all but GLE's U-Net, which learns at full rank."""
    model.requires_grad_(False)
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_(is_full_rank(name, model.gle.config))


def gle_losses(model: GleSam, batch: Batch) -> Losses:
    """The losses of stage 1."""
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
    """Squared error of gamma-scaled embeddings [B, 256, h, w]; "before" is the one without GLE."""
    loss = mse_loss(gamma * restored, gamma * clean)
    before = mse_loss(gamma * damaged, gamma * clean)
    return {"loss": loss, "before": before.detach()}


def select_decoder(model: GleSam, *, train_iou_head: bool) -> None:
    """Freezes all but the mask decoder, and in it, unless `train_iou_head`, what predicts the IoU.

    The decoder is set to training mode, in which SAM 2's puts no other mask in the place of mask 0; but batch
    norms keep their running statistics, as those of a batch would change with the processes that share it.
    """
    model.requires_grad_(False)
    for module in model.mask_decoder.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for name, parameter in model.mask_decoder.named_parameters():
        trains = train_iou_head or IOU_HEAD not in name
        parameter.requires_grad_(trains and not name.startswith(UNTRAINED))


def decoder_losses(
    model: GleSam, batch: Batch, loss: MaskLoss = DEFAULT_LOSS, *, enhance: bool = True
) -> Losses:
    """The losses of stage 2. Encoder and GLE are frozen; clean pictures pass through GLE too, as in use.

    `enhance=False` leaves GLE out: the same training of a decoder for SAM alone, to compare with.
    """
    with torch.no_grad():
        features = model.encode_features(model.normalize(batch.degraded))
        features = model.enhance(features) if enhance else features
    return segmentation_losses(model, features.to(batch.image.dtype), batch, loss)


def encoded_losses(model: GleSam, batch: EncodedBatch, loss: MaskLoss = DEFAULT_LOSS) -> Losses:
    """The losses of stage 2 on features that were computed before."""
    return segmentation_losses(model, batch.features, batch, loss)
