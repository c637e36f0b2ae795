"""The mask losses of every stage of nano: prompts are answered, and some answers corrected, as users do."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from glesam.model import GleSam
from glesam.nano.batches import PromptBatch
from glesam.nano.prompts import CORRECTIONS, FIRST_POINTS, corrected
from glesam.training.loop import Losses
from glesam.training.mask_loss import MaskLoss, Prompted, mask_losses
from glesam_runtime.prompts import BOX_TOP_LEFT

LOSS = MaskLoss(multimask=0.5, far=0.1)
CORRECTED_SHARE = 0.35
"""Share of the answers that are corrected by one more point each, and of these again."""
LARGEST_LOGIT = 20.0
"""Logits that are fed back are clipped to it."""


class Targets(Prompted, Protocol):
    """What the losses need of a batch; shapes as in `PromptBatch`."""

    @property
    def single_weights(self) -> Tensor: ...


def clean_losses(model: GleSam, batch: PromptBatch) -> Losses:
    """Encoder and decoder on clean pictures."""
    return prompt_losses(model, model.encode(model.normalize(batch.image)), batch)


def prompt_losses(model: GleSam, image_embeddings: Tensor, batch: Targets) -> Losses:
    """Losses of N prompts on B embeddings [B, 256, S/16, S/16], with corrections in some of the steps.

    The answer's mask 0 is fed back with the correction, as SAM's authors train (Kirillov et al., 2023,
    appendix A); all answers count alike.
    """
    decoder: Any = model.mask_decoder
    encoder: Any = model.prompt_encoder
    seen = decoder.look(image_embeddings)
    coords, labels, target = batch.point_coords, batch.point_labels, batch.masks
    height, width = target.shape[-2] // 2, target.shape[-1] // 2
    given, has_mask = torch.zeros_like(target), target.new_zeros(len(target))
    losses: Losses = {}
    for correction in range(1 + CORRECTIONS):
        if correction:
            if float(torch.rand(())) >= CORRECTED_SHARE:
                break
            coords, labels = corrected(coords, labels, given, target, FIRST_POINTS + correction - 1)
            has_mask = torch.ones_like(has_mask)
        maps = encoder.with_masks(encoder(coords, labels, height, width), given, has_mask)
        logits, ious = decoder(seen, maps)
        logits = logits.float()
        answer = mask_losses(logits, ious.float(), target.expand_as(logits), LOSS, batch.single_weights)
        if not correction:
            losses = {**answer, **by_kind(logits[:, 0], target[:, 0], labels)}
        else:
            losses = {**losses, "loss": losses["loss"] + answer["loss"], f"iou_{correction}": answer["iou"]}
        given = logits[:, :1].detach().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    return losses


def by_kind(logits: Tensor, target: Tensor, labels: Tensor) -> Losses:
    """Mean IoU of mask 0 for boxes and for points, where there are any."""
    found, truth = logits.detach() > 0, target > 0.5
    each = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2)).clamp(min=1)
    is_box = (labels == BOX_TOP_LEFT).any(1)
    kinds = {"box": each[is_box], "points": each[~is_box]}
    return {kind: values.mean() for kind, values in kinds.items() if len(values)}
