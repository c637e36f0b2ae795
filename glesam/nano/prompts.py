"""The prompts nano trains on: boxes, points inside and outside the object, and corrections of its answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from glesam.data.innermost import innermost_pixel
from glesam.data.label_maps import mask_box
from glesam.data.masks import Mask
from glesam.data.prompts import PointPrompt, random_prompt
from glesam_runtime.prompts import BACKGROUND, FOREGROUND, PADDING

FIRST_POINTS = 5
"""Largest number of points before any correction."""
CORRECTIONS = 3
"""Largest number of corrections, a point each."""
SLOTS = FIRST_POINTS + CORRECTIONS
"""Points per prompt after padding."""
MARGIN, LEAST_MARGIN = 1 / 3, 8
"""Background points lie this far around an object's box at most: relative to its sides, and px."""
MASK_STRIDE = 4


@dataclass(frozen=True)
class PromptShares:
    """How often a prompt is a box, the innermost point, or any one point; the rest are several points."""

    box: float = 0.5
    innermost: float = 0.2
    one_point: float = 0.15


OF_OBJECTS = PromptShares()
OF_REGIONS = PromptShares(box=0.65, innermost=0.25, one_point=0.1)
"""Several points on a region would mostly ask for the object around it."""


def draw_prompt(mask: Mask, rng: np.random.Generator, shares: PromptShares = OF_OBJECTS) -> PointPrompt:
    """A prompt for the mask, with `SLOTS` points after padding."""
    chance = rng.random()
    if chance < shares.box:
        prompt = random_prompt(mask, rng, "box")
    elif chance < shares.box + shares.innermost:
        prompt = _foreground(np.array([innermost_pixel(mask)], np.float32))
    elif chance < shares.box + shares.innermost + shares.one_point:
        prompt = _foreground(_pixels_of(mask, rng, 1))
    else:
        prompt = _several_points(mask, rng)
    return prompt.padded(SLOTS)


def _foreground(coords: NDArray[np.float32]) -> PointPrompt:
    return PointPrompt(coords, np.full(len(coords), FOREGROUND, np.int32))


def _pixels_of(mask: Mask, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """(x, y) of random pixels of the mask, float32 [count, 2]."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(0, len(rows), count)
    return np.stack([columns[chosen], rows[chosen]], 1).astype(np.float32)


def _several_points(mask: Mask, rng: np.random.Generator) -> PointPrompt:
    """One to three points inside, and up to two outside but near; at least two in all where there is room."""
    inside = _pixels_of(mask, rng, int(rng.integers(1, 4)))
    x0, y0, x1, y1 = mask_box(mask)
    right, down = (max(LEAST_MARGIN, int(MARGIN * side)) for side in (x1 - x0, y1 - y0))
    top, left = max(0, y0 - down), max(0, x0 - right)
    around = ~mask[top : y1 + down, left : x1 + right]
    count = int(rng.integers(0 if len(inside) > 1 else 1, 3)) if around.any() else 0
    outside = _pixels_of(around, rng, count) + np.array([left, top], np.float32) if count else inside[:0]
    labels = np.array([FOREGROUND] * len(inside) + [BACKGROUND] * count, np.int32)
    return PointPrompt(np.concatenate([inside, outside]), labels)


@torch.no_grad()
def corrected(
    coords: Tensor, labels: Tensor, logits: Tensor, target: Tensor, slot: int
) -> tuple[Tensor, Tensor]:
    """Prompts with one more point each, in the middle of a large error, as a user would correct a mask.

    Args:
        coords, labels: N prompts, [N, SLOTS, 2] px and [N, SLOTS].
        logits, target: the answers and the masks, [N, 1, s, s], at stride 4.
        slot: index of the new point; it stays padding where the answer is right.

    Returns:
        New coords and labels.
    """
    wrong = ((logits > 0) != (target > 0.5)).float()
    depth = (avg_pool2d(wrong, 9, 1, 4) + 0.3 * torch.rand_like(wrong)) * wrong
    place = depth.flatten(1).argmax(1)
    side = logits.shape[-1]
    at = torch.stack([place % side, place // side], 1).to(coords) * MASK_STRIDE + (MASK_STRIDE - 1) / 2
    is_object = target.flatten(1).gather(1, place[:, None])[:, 0] > 0.5
    label = torch.where(is_object, FOREGROUND, BACKGROUND)
    label = torch.where(wrong.flatten(1).any(1), label, PADDING)
    coords, labels = coords.clone(), labels.clone()
    coords[:, slot], labels[:, slot] = at, label.to(labels)
    return coords, labels
