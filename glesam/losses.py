"""Segmentation losses on logits, each a mean over N masks."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1e-6) -> Tensor:
    """1 - Dice per mask, [...]; `logits` and `target` (0 or 1) are [..., H, W] (Milletari, 2016)."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    total = probability.sum((-2, -1)) + target.sum((-2, -1))
    return 1 - (2 * overlap + smooth) / (total + smooth)


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss per mask, [...]; gamma 2 and alpha .25 as in Lin et al., 2017, and GleSAM."""
    cross_entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    wrong = probability + target - 2 * probability * target
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * wrong**gamma * cross_entropy).mean((-2, -1))


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union per mask at logits > 0, [...]."""
    predicted = (logits > 0).to(target.dtype)
    intersection = (predicted * target).sum((-2, -1))
    union = predicted.sum((-2, -1)) + target.sum((-2, -1)) - intersection
    return intersection / union.clamp(min=1)
