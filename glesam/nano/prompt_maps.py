"""A prompt drawn as maps at stride 8: box, points and mask, in operators that every exporter can trace."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

STRIDE = 8
"""Pixels of the input image per position of a map, along each axis."""
SIGMAS_PX = (6.0, 24.0)
"""Standard deviations of the Gaussians that a point is drawn as."""
FAR = 2.0
"""Largest distance from a box's centre, in half sides: 1 is the box's edge."""
BOX_MAPS = 3
"""Coverage by the box, and the distance from its centre along x and along y."""
MAPS = BOX_MAPS + 2 * len(SIGMAS_PX) + 1
"""Maps of a prompt: the box's, foreground and background points at each sigma, and the mask's."""


class PromptMaps(nn.Module):
    """nano's prompt encoder: no weights, it draws what `glesam.nano.decoder.NanoDecoder` reads."""

    def forward(self, point_coords: Tensor, point_labels: Tensor, height: int, width: int) -> Tensor:
        """Draws box and points: float [N, MAPS - 1, height, width], at stride 8 of the input image.

        A map is 0 everywhere where the prompt has no box, or no point of this label.

        Args:
            point_coords: float [N, P, 2], (x, y) in pixels of the input image.
            point_labels: int [N, P]; -1 padding, 0 background, 1 foreground, 2 and 3 box corners.
        """
        coords = point_coords + 0.5  # as SAM does: a pixel's centre
        x, y = _centres(width, coords), _centres(height, coords)
        boxes = _box_maps(coords, point_labels, x, y)
        return torch.cat([boxes, _point_maps(coords, point_labels, x, y)], dim=1)

    @staticmethod
    def with_masks(drawn: Tensor, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Appends the mask prompt to what `forward` drew: [N, MAPS, height, width].

        Its map is 2 p - 1, p the mask's mean probability at a position.

        Args:
            drawn: [N, MAPS - 1, height, width].
            mask_input: float [N, 1, 2 height, 2 width], logits.
            has_mask_input: float [N]; 1 where the mask counts, else 0.
        """
        has_mask = has_mask_input.reshape(-1, 1, 1, 1)
        return torch.cat([drawn, has_mask * (2 * avg_pool2d(mask_input.sigmoid(), 2) - 1)], dim=1)


def _box_maps(coords: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[N, BOX_MAPS, H, W]: each map is the product of a column and a row."""
    first, last = _has_label(labels, BOX_TOP_LEFT, coords), _has_label(labels, BOX_BOTTOM_RIGHT, coords)
    start, end = (coords * first).sum(1), (coords * last).sum(1)  # [N, 2]
    has_box = first.amax(1)
    left, top, right, bottom = start[:, :1], start[:, 1:], end[:, :1], end[:, 1:]
    everywhere_x, everywhere_y = has_box * torch.ones_like(x), has_box * torch.ones_like(y)
    columns = torch.stack(
        [has_box * _coverage(y, top, bottom), everywhere_y, has_box * _distance(y, top, bottom)], dim=1
    )
    rows = torch.stack([_coverage(x, left, right), _distance(x, left, right), everywhere_x], dim=1)
    return columns.unsqueeze(3) * rows.unsqueeze(2)


def _coverage(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Fraction of each position along one axis that lies between `start` and `end` [N, 1], in px: [N, n]."""
    length = torch.minimum(centres + STRIDE / 2, end) - torch.maximum(centres - STRIDE / 2, start)
    return length.clamp(min=0) / STRIDE


def _distance(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance along one axis from the box's centre, in half sides, at most `FAR`: [N, n]."""
    half_side = ((end - start) / 2).clamp(min=1.0)
    signed = (centres - (start + end) / 2) / half_side
    return torch.maximum(signed, -signed).clamp(max=FAR)


def _point_maps(coords: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[N, 2 sigmas, H, W]: at each position the largest Gaussian of all points of a label."""
    columns, rows = [], []
    for label in (FOREGROUND, BACKGROUND):
        counts = _has_label(labels, label, coords)
        for sigma in SIGMAS_PX:
            columns.append(counts * _gaussian(y - coords[:, :, 1:], sigma))
            rows.append(_gaussian(x - coords[:, :, :1], sigma))
    maps = torch.stack(columns, dim=2).unsqueeze(4) * torch.stack(rows, dim=2).unsqueeze(3)
    return maps.amax(1)


def _gaussian(distance: Tensor, sigma: float) -> Tensor:
    scaled = distance / sigma
    return torch.exp(-(scaled * scaled) / 2)


def _centres(positions: int, like: Tensor) -> Tensor:
    """Centres of the positions along one axis, in px, [n]."""
    return (torch.arange(positions, device=like.device, dtype=like.dtype) + 0.5) * STRIDE


def _has_label(labels: Tensor, label: int, like: Tensor) -> Tensor:
    """1 where a point has this label, else 0: float [N, P, 1]."""
    return (labels == label).to(like.dtype).unsqueeze(-1)
