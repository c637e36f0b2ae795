"""Procedural scenes: overlapping shapes, drawn as label maps. They teach a decoder what prompts mean."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def random_scene(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A label map uint8 [size, size]: background 0 and up to eight shapes, later ones in front."""
    labels = np.zeros((size, size), dtype=np.uint8)
    for label in range(1, int(rng.integers(3, 9))):
        draw = _ellipse if rng.random() < 0.5 else _polygon
        draw(labels, label, rng)
    return labels


def _ellipse(labels: NDArray[np.uint8], label: int, rng: np.random.Generator) -> None:
    size = labels.shape[0]
    centre = [int(v) for v in rng.integers(0, size, 2)]
    axes = [int(v) for v in rng.uniform(0.06, 0.35, 2) * size]
    cv2.ellipse(labels, centre, axes, rng.uniform(0, 180), 0, 360, label, thickness=-1)


def _polygon(labels: NDArray[np.uint8], label: int, rng: np.random.Generator) -> None:
    """Three to seven corners around a centre: often concave, like the outlines of real things."""
    size, corners = labels.shape[0], int(rng.integers(3, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.08, 0.45, corners) * size
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points = spokes + rng.uniform(0, size, 2)
    cv2.fillPoly(labels, [points.astype(np.int32)], label)
