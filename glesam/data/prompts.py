"""Prompts drawn from masks, as SAM's points and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glesam.data.label_maps import mask_box
from glesam_runtime.prompts import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING

PromptKind = Literal["box", "points", "both"]

BOX_SHARE = 0.8
"""Share of boxes among prompts of both kinds."""
EXACT_SHARE = 0.5
"""Share of boxes that touch their object on all sides, as annotated boxes do.
From jittered boxes alone a decoder learns to trust a box's sides too little."""
MAX_JITTER = 0.1
"""Upper bound of a box's random jitter in training, so that a tight box is understood as one."""


@dataclass(frozen=True)
class PointPrompt:
    """Points of one prompt: `coords` float32 [P, 2], (x, y) in pixels, `labels` int32 [P], SAM's values."""

    coords: NDArray[np.float32]
    labels: NDArray[np.int32]

    def padded(self, length: int) -> PointPrompt:
        """The prompt with padding points at its end, `length` points in all."""
        missing = length - len(self.labels)
        return PointPrompt(
            np.pad(self.coords, ((0, missing), (0, 0))),
            np.pad(self.labels, (0, missing), constant_values=PADDING),
        )


def box_prompt(
    mask: NDArray[np.bool_], rng: np.random.Generator | None = None, jitter: float = 0.1
) -> PointPrompt:
    """Prompt with the mask's box; with `rng`, each side is moved by a normal draw of `jitter` x its length.

    SAM's own recipe has a standard deviation of 10 % of the side, at most 20 px (Kirillov et al., 2023).
    """
    x0, y0, x1, y1 = mask_box(mask)
    corners = np.array([[x0, y0], [x1, y1]], dtype=np.float32)
    if rng is not None:
        side = np.array([x1 - x0, y1 - y0], dtype=np.float32)
        noise = np.clip(rng.normal(0, jitter * side, (2, 2)), -20, 20)
        limit = np.array(mask.shape[::-1], dtype=np.float32)
        moved = np.clip(corners + noise, 0, limit)
        if (moved[1] - moved[0] >= 2).all():
            corners = moved.astype(np.float32)
    return PointPrompt(corners, np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], dtype=np.int32))


def point_prompt(mask: NDArray[np.bool_], rng: np.random.Generator, count: int) -> PointPrompt:
    """Prompt with `count` pixels drawn evenly from the mask, ending in the padding point that SAM expects."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(0, len(rows), count)
    coords = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32)
    labels = np.full(count, FOREGROUND, dtype=np.int32)
    return PointPrompt(coords, labels).padded(count + 1)


def random_prompt(
    mask: NDArray[np.bool_],
    rng: np.random.Generator,
    kind: PromptKind = "both",
    points: tuple[int, int] = (1, 3),
) -> PointPrompt:
    """A training prompt of `kind`: a box, exact or jittered; foreground points; or either (4 in 5 a box).

    `points` bounds the number of points, both ends included.
    """
    if kind == "box" or (kind == "both" and rng.random() < BOX_SHARE):
        exact = rng.random() < EXACT_SHARE
        return box_prompt(mask, rng, 0.0 if exact else float(rng.uniform(0, MAX_JITTER)))
    return point_prompt(mask, rng, int(rng.integers(points[0], points[1] + 1)))
