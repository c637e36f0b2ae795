"""Stage "decoder" (stage 2 of the paper): the mask decoder meets enhanced embeddings."""

from __future__ import annotations

import torch

from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.encoded_views import EncodedBatch
from glesam.training.loop import Losses
from glesam.training.mask_loss import NANO_LOSS, MaskLoss, segmentation_losses

IOU_HEAD = "iou"
"""Part of the names of the parameters that predict a mask's IoU."""


def decoder_losses(
    model: GleSam, batch: Batch, loss: MaskLoss = NANO_LOSS, *, enhance: bool = True
) -> Losses:
    """Encoder and GLE are frozen; clean pictures pass through GLE too, as they do in use.

    `enhance=False` leaves GLE out: the same training of a decoder for SAM alone, to compare with.
    """
    with torch.no_grad():
        embeddings = model.encode(model.normalize(batch.degraded))
        enhanced = model.enhance(embeddings) if enhance else embeddings
    return segmentation_losses(model, enhanced.to(batch.image.dtype), batch, loss)


def encoded_losses(model: GleSam, batch: EncodedBatch, loss: MaskLoss = NANO_LOSS) -> Losses:
    """The same of embeddings that are there already."""
    return segmentation_losses(model, batch.image_embeddings, batch, loss)


def select_decoder(model: GleSam, *, train_iou_head: bool) -> None:
    """Freezes all but the mask decoder, and of that, unless asked for, what predicts the IoU."""
    model.requires_grad_(False)
    for name, parameter in model.mask_decoder.named_parameters():
        parameter.requires_grad_(train_iou_head or IOU_HEAD not in name)
