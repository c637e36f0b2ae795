"""RobustSAM's training: what it adds to SAM learns from the same SAM on the clean picture.

As in its paper (Chen et al., CVPR 2024), SAM itself stays frozen, and the loss adds up a mask loss and two
consistencies with the clean picture, one of features and one of tokens. Masks are the product of a token's
weights and features, so both factors are compared, with those of SAM's own decoder on the clean picture. The
authors' decoder hands out other ones: tokens before their last layers, and for a clean picture the features
of the same blocks without their restoring part.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import mse_loss

from glesam.config import EMBEDDING_CHANNELS
from glesam.data.batches import Batch
from glesam.decoding import per_prompt
from glesam.restorers.robust_sam import RobustSam
from glesam.training.loop import Losses
from glesam.training.mask_loss import MaskLoss, aligned, mask_losses, no_masks
from glesam.two_way import masks_of

from .lab import Lab
from .networks import robust
from .stages import trained_sam

ADDED = (
    "custom_robust_token.",
    "robust_mlp.",
    "fourier_mask_features.",
    "fourier_first_layer_features.",
    "fourier_last_layer_features.",
    "custom_token_block.",
)
"""Starts of the names of the decoder's parameters that are RobustSAM's and not SAM's."""
MASKS = MaskLoss(iou=0.0)
"""The head that predicts the IoU stays SAM's."""


def robust_sam(lab: Lab, name: str) -> RobustSam:
    """Stage "robust": tokens, token block and feature blocks learn together; tokens begin as SAM's own."""
    model: RobustSam = lab.new(robust(lab.size.vit), trained_sam(lab, "vit"))
    decoder = model.mask_decoder
    with torch.no_grad():
        decoder.custom_robust_token.weight.copy_(decoder.mask_tokens.weight)
    for parameter_name, parameter in decoder.named_parameters():
        parameter.requires_grad_(parameter_name.startswith(ADDED))
    decoder.train()
    plan = lab.degraded_views(model.config.sam)
    lab.train(Path(name, "robust"), model, decoder, lambda batch: robust_losses(model, batch), plan)
    return model


def robust_losses(model: RobustSam, batch: Batch) -> Losses:
    """The mask loss of the degraded pictures and, as `features` and `weights`, the two consistencies."""
    decoder = model.mask_decoder
    with torch.no_grad():
        clean, _ = encoded(model, batch.image)
        prompts = batch.point_coords, batch.point_labels, *no_masks(clean, len(batch.masks))
        clean_weights, clean_features, _ = decoder.mask_factors(*model.embed_prompts(clean, *prompts))
        degraded, early = encoded(model, batch.degraded)
        prompted = model.embed_prompts(degraded, *prompts)
    restored = per_prompt(decoder.restore(degraded, early), len(batch.masks))
    weights, features, ious = decoder.robust_factors(*prompted, restored)
    logits, target = aligned(masks_of(weights, features), batch.masks.unsqueeze(1), MASKS.size)
    losses = mask_losses(logits, ious, target.expand_as(logits), MASKS)
    consistency = {
        "features": mse_loss(features, clean_features),
        "weights": mse_loss(weights, clean_weights),
    }
    return {**losses, **consistency, "loss": losses["loss"] + sum(consistency.values())}


def encoded(model: RobustSam, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Image embeddings and early features of pictures [B, 3, S, S] in [0, 255]."""
    return model.encode(model.normalize(image)).tensor_split([EMBEDDING_CHANNELS], dim=1)
