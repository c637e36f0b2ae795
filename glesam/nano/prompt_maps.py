"""A prompt drawn as maps at stride 8: box, points and mask, in operations that every exporter can trace."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

PIXELS = 8
"""Px of the input picture per place of a map, along an axis."""
SIGMAS_PX = (6.0, 24.0)
"""Of the Gaussian spots that points are drawn as."""
MAPS = 8
"""Box, both distances from its middle, foreground and background points at two widths, mask."""
FAR = 2.0
"""Distances from the box's middle are in half sides and end here."""


class PromptMaps(nn.Module):
    """nano's prompt encoder, which has no weights: it draws prompts for `glesam.nano.decoder.NanoDecoder`."""

    def forward(self, point_coords: Tensor, point_labels: Tensor, height: int, width: int) -> Tensor:
        """Box and points: [N, 7, height, width], at stride 8 of the input picture.

        Args:
            point_coords: float [N, P, 2], (x, y) in px of the input picture.
            point_labels: int [N, P]; -1 padding, 0 background, 1 foreground, 2 and 3 box corners.
        """
        coords = point_coords + 0.5
        x, y = _centres(width, coords), _centres(height, coords)
        points = [
            _points(coords, point_labels, label, sigma, x, y)
            for label in (FOREGROUND, BACKGROUND)
            for sigma in SIGMAS_PX
        ]
        return torch.stack([*_box_maps(coords, point_labels, x, y), *points], dim=1)

    @staticmethod
    def with_masks(drawn: Tensor, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Adds the mask prompt to what `forward` drew: [N, 8, height, width].

        Args:
            drawn: [N, 7, height, width].
            mask_input: logits [N, 1, 2 height, 2 width].
            has_mask_input: [N]; 1 where the mask counts, else 0.
        """
        has_mask = has_mask_input.reshape(-1, 1, 1, 1)
        return torch.cat([drawn, has_mask * (2 * avg_pool2d(mask_input.sigmoid(), 2) - 1)], dim=1)


def _box_maps(coords: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    """Share of each place that the box covers, and distances from its middle; 0 where there is no box."""
    first, last = _is(labels, BOX_TOP_LEFT), _is(labels, BOX_BOTTOM_RIGHT)
    start, end = (coords * first).sum(1), (coords * last).sum(1)  # [N, 2]
    has_box = first.amax(1)
    columns, rows = _covered(x, start[:, :1], end[:, :1]), _covered(y, start[:, 1:], end[:, 1:])
    across, down = _distance(x, start[:, :1], end[:, :1]), _distance(y, start[:, 1:], end[:, 1:])
    everywhere = has_box.unsqueeze(2).expand(-1, len(y), len(x))
    return [
        rows.unsqueeze(2) * (has_box * columns).unsqueeze(1),
        everywhere * across.unsqueeze(1),
        everywhere * down.unsqueeze(2),
    ]


def _distance(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From the middle, in half sides, [N, n]."""
    half = ((end - start) / 2).clamp(min=1.0)
    signed = (centres - (start + end) / 2) / half
    return torch.maximum(signed, -signed).clamp(max=FAR)


def _covered(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Share of each place along one axis that lies between `start` and `end` [N, 1], px."""
    length = torch.minimum(centres + PIXELS / 2, end) - torch.maximum(centres - PIXELS / 2, start)
    return length.clamp(min=0) / PIXELS


def _points(coords: Tensor, labels: Tensor, label: int, sigma: float, x: Tensor, y: Tensor) -> Tensor:
    """A Gaussian spot at each point of this label, the highest one counting, [N, H, W]."""
    across, down = (x - coords[:, :, :1]) / sigma, (y - coords[:, :, 1:]) / sigma
    spots = torch.exp(-(down * down).unsqueeze(3) / 2) * torch.exp(-(across * across).unsqueeze(2) / 2)
    return (spots * _is(labels, label).unsqueeze(-1)).amax(1)


def _centres(places: int, like: Tensor) -> Tensor:
    return (torch.arange(places, device=like.device) + 0.5) * PIXELS


def _is(labels: Tensor, label: int) -> Tensor:
    """1 where a point has this label, float [N, P, 1]."""
    return (labels == label).float().unsqueeze(-1)
