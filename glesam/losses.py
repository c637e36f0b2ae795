"""Segmentation measures on logits, one value per mask: [..., H, W] -> [...]."""

from __future__ import annotations

from torch import Tensor


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1e-6) -> Tensor:
    """1 - Dice per mask, [...]; `logits` and `target` (0 or 1) are [..., H, W] (Milletari, 2016)."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    total = probability.sum((-2, -1)) + target.sum((-2, -1))
    return 1 - (2 * overlap + smooth) / (total + smooth)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union per mask at logits > 0, [...]."""
    predicted = (logits > 0).to(target.dtype)
    intersection = (predicted * target).sum((-2, -1))
    union = predicted.sum((-2, -1)) + target.sum((-2, -1)) - intersection
    return intersection / union.clamp(min=1)
