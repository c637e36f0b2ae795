"""Segmentation losses and IoU on logits, one value per mask: [..., H, W] -> [...]."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

FOCAL_GAMMA, FOCAL_ALPHA = 2.0, 0.25
"""The values of the authors' stage 2, and of the paper that introduced the loss (Lin et al., 2017)."""


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1e-6) -> Tensor:
    """1 - Dice per mask, [...]; `logits` and `target` (0 or 1) are [..., H, W] (Milletari, 2016)."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    total = probability.sum((-2, -1)) + target.sum((-2, -1))
    return 1 - (2 * overlap + smooth) / (total + smooth)


def cross_entropy_loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy per mask, the (weighted) mean over its pixels, [...]."""
    return _mean(binary_cross_entropy_with_logits(logits, target, reduction="none"), weights)


def focal_loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t per mask, the (weighted) mean over its pixels, [...].

    Lin et al., 2017.
    """
    cross_entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    missed = probability + target - 2 * probability * target  # 1 - p_t
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return _mean(alpha * missed**FOCAL_GAMMA * cross_entropy, weights)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return values.mean((-2, -1))
    return (weights * values).sum((-2, -1)) / weights.sum((-2, -1))


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union per mask at logits > 0, [...]."""
    predicted = (logits > 0).to(target.dtype)
    intersection = (predicted * target).sum((-2, -1))
    union = predicted.sum((-2, -1)) + target.sum((-2, -1)) - intersection
    return intersection / union.clamp(min=1)
