"""SAM 2's choice of mask 0 (`glesam.sam2.stable_masks`) in operators that every runtime has.

Comparisons and ArgMax are none of them; Max with Equal says the same, and the first of equal scores wins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Stability(nn.Module):
    """Mask logits [N, 1, h, w] -> [N, 1], 1 where the mask is stable, else 0.

    It is a module of its own so that its nodes can stay in fp32: areas of 256 x 256 overflow fp16.
    """

    def __init__(self, delta: float, threshold: float) -> None:
        super().__init__()
        self.delta, self.threshold = delta, threshold

    def forward(self, masks: Tensor) -> Tensor:
        inner = _above(masks, self.delta).sum((2, 3))
        outer = _above(masks, -self.delta).sum((2, 3))
        empty = (outer == 0).to(masks.dtype)
        ratio = (inner + empty) / (outer + empty)
        return 1 - _above(-ratio, -self.threshold)


def stable_masks(masks: Tensor, ious: Tensor, stability: nn.Module) -> tuple[Tensor, Tensor]:
    """The same function as `glesam.sam2.stable_masks`: masks [N, 4, h, w] and scores [N, 4]."""
    stable = stability(masks[:, :1])
    best = (ious[:, 1:] == ious[:, 1:].amax(1, keepdim=True)).to(masks.dtype)
    first, second, third = best[:, :1], best[:, 1:2], best[:, 2:]
    second = second * (1 - first)
    third = third * (1 - first) * (1 - second)
    others = torch.cat([first, second, third], dim=1) * (1 - stable)
    chosen = torch.cat([stable, others], dim=1) == 1  # [N, 4], one of each row
    mask = torch.where(chosen[:, :, None, None], masks, 0).sum(1, keepdim=True)
    iou = torch.where(chosen, ious, 0).sum(1, keepdim=True)
    return torch.cat([mask, masks[:, 1:]], dim=1), torch.cat([iou, ious[:, 1:]], dim=1)


def _above(x: Tensor, limit: float) -> Tensor:
    """1 where x > limit, else 0."""
    bound = torch.full((), limit, dtype=x.dtype)
    return 1 - (torch.maximum(x, bound) == bound).to(x.dtype)
