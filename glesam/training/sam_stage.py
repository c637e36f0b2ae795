"""Stage "sam": the image encoder, prompt encoder and mask decoder on clean pictures.

Cross entropy + dice, a squared error on the predicted IoU, and coherence: cells of one label must have
similar embeddings, cells of different labels dissimilar ones. (With SAM's own focal loss the masks were
still empty after 75 steps; a CPU affords a thousand.) Every prompt trains the single mask and the best of
the three multimask outputs, so that all heads live. Every fourth batch is answered twice, the second time
with the first answer as mask input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, mse_loss

from glesam.config import EMBEDDING_STRIDE
from glesam.data.batches import Batch
from glesam.losses import dice_loss, mask_iou
from glesam.model import GleSam
from glesam.training.loop import Losses


def sam_losses(model: GleSam, batch: Batch) -> Losses:
    embeddings = model.encode(model.normalize(batch.image))
    losses = segmentation_losses(model, embeddings, batch)
    coherence = coherence_loss(embeddings, batch.labels)
    return {**losses, "loss": losses["loss"] + coherence, "coherence": coherence}


def coherence_loss(image_embeddings: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of "same label" for every pair of cells of a picture, from their similarity.

    Args:
        image_embeddings: [B, 256, h, w], each cell of norm about 16.
        labels: uint8 [B, 16h, 16w].
    """
    cells = image_embeddings.flatten(2)
    similarity = torch.einsum("bcm,bcn->bmn", cells, cells) / image_embeddings.shape[1]
    half = EMBEDDING_STRIDE // 2
    centres = labels[:, half::EMBEDDING_STRIDE, half::EMBEDDING_STRIDE].flatten(1)
    same = (centres.unsqueeze(2) == centres.unsqueeze(1)).float()
    return binary_cross_entropy_with_logits(6 * (similarity - 0.5), same)


def segmentation_losses(model: GleSam, image_embeddings: Tensor, batch: Batch) -> Losses:
    """Losses of K prompts on each of B embeddings, [B, 256, S/16, S/16]."""
    per_image = len(batch.masks) // len(image_embeddings)
    embeddings = image_embeddings.repeat_interleave(per_image, dim=0)
    mask_input, has_mask = no_masks(embeddings)
    if float(torch.rand(())) < 0.25:
        with torch.no_grad():
            first, _ = model.decode(embeddings, batch.point_coords, batch.point_labels, mask_input, has_mask)
        mask_input, has_mask = first[:, :1], torch.ones_like(has_mask)
    low_res, iou = model.decode(embeddings, batch.point_coords, batch.point_labels, mask_input, has_mask)
    target = interpolate(batch.masks.unsqueeze(1), low_res.shape[-2:], mode="area")
    return mask_losses(low_res, iou, target.expand_as(low_res))


def mask_losses(low_res: Tensor, iou_predictions: Tensor, target: Tensor) -> Losses:
    """All arguments [N, 4, ...]; mask 0 counts, and the best of masks 1 to 3."""
    cross_entropy = binary_cross_entropy_with_logits(low_res, target, reduction="none")
    per_mask = cross_entropy.mean((-2, -1)) + dice_loss(low_res, target)
    single, multi = per_mask[:, 0].mean(), per_mask[:, 1:].min(dim=1).values.mean()
    true_iou = mask_iou(low_res.detach(), (target > 0.5).to(target.dtype))
    iou_error = mse_loss(iou_predictions, true_iou)
    return {
        "loss": single + multi + iou_error,
        "iou": true_iou[:, 0].mean(),
        "best_of_three": true_iou[:, 1:].max(dim=1).values.mean(),
    }


def no_masks(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """`mask_input` and `has_mask_input` for N prompts without a mask."""
    n, _, height, width = embeddings.shape
    return embeddings.new_zeros(n, 1, 4 * height, 4 * width), embeddings.new_zeros(n)
