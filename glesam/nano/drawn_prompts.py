"""Boxes and points drawn as a mask prompt, in operations that every exporter can trace.

SAM's decoder receives the place of a prompt through positional encodings alone, and needs eleven million
images to learn what they mean. Drawn as a mask, a box is understood after a hundred steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glesam.nano.guide import MASK_STRIDE
from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

POINT_SIGMA_PX = 12.0
SURE_LOGIT = 8.0
"""Logit of a position that is surely inside the prompt; its negative stands for outside."""


def draw_prompts(point_coords: Tensor, point_labels: Tensor, height: int, width: int) -> Tensor:
    """Logits float [N, 1, height, width]: high in the box and at foreground points.

    Args:
        point_coords: float [N, P, 2], (x, y) in pixels of the S x S input.
        point_labels: int [N, P], SAM's values.
        height, width: size of the mask prompt, S/4.
    """
    x, y = _centres(width, point_coords), _centres(height, point_coords)
    inside = _box(point_coords, point_labels, x, y)
    inside = torch.maximum(inside, _points(point_coords, point_labels, FOREGROUND, x, y))
    inside = inside - _points(point_coords, point_labels, BACKGROUND, x, y)
    return SURE_LOGIT * (2 * inside.unsqueeze(1) - 1)


def box_mask(point_coords: Tensor, point_labels: Tensor, height: int, width: int) -> Tensor:
    """Where the object may lie, float [N, 1, height, width]: in the box, or anywhere without one."""
    x, y = _centres(width, point_coords), _centres(height, point_coords)
    has_box = _is(point_labels, BOX_TOP_LEFT).amax(1).unsqueeze(-1)
    return (has_box * _box(point_coords, point_labels, x, y) + 1 - has_box).unsqueeze(1)


def _centres(count: int, like: Tensor) -> Tensor:
    """Centres of the positions along one axis, px, on the device of `like`."""
    return (torch.arange(count, device=like.device) + 0.5) * MASK_STRIDE


def _box(coords: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Fraction of each position that the box covers, [N, height, width]; 0 everywhere without a box."""
    start = (coords * _is(labels, BOX_TOP_LEFT)).sum(1).unsqueeze(-1)
    end = (coords * _is(labels, BOX_BOTTOM_RIGHT)).sum(1).unsqueeze(-1)
    columns = _covered(x, start[:, 0], end[:, 0])
    rows = _covered(y, start[:, 1], end[:, 1])
    return rows.unsqueeze(2) * columns.unsqueeze(1)


def _covered(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Fraction of each position along one axis that lies between `start` and `end` [N, 1], px."""
    half = MASK_STRIDE / 2
    length = torch.minimum(centres + half, end) - torch.maximum(centres - half, start)
    return length.clamp(min=0) / MASK_STRIDE


def _points(coords: Tensor, labels: Tensor, label: int, x: Tensor, y: Tensor) -> Tensor:
    """A Gaussian bump at each point of this label, the highest one counting, [N, height, width]."""
    across = (x - coords[:, :, :1]) / POINT_SIGMA_PX
    down = (y - coords[:, :, 1:]) / POINT_SIGMA_PX
    bumps = torch.exp(-(down * down).unsqueeze(3) / 2) * torch.exp(-(across * across).unsqueeze(2) / 2)
    return (bumps * _is(labels, label).unsqueeze(-1)).amax(1)


def _is(labels: Tensor, label: int) -> Tensor:
    """1 where a point has this label, float [N, P, 1]."""
    return (labels == label).float().unsqueeze(-1)
