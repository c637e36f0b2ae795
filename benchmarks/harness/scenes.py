"""Drawn pictures and label maps, for benchmarks that run where there is no data."""

from __future__ import annotations

import cv2
import numpy as np


def random_scene(size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a label map uint8 [size, size]: background 0 and up to eight overlapping ellipses."""
    labels = np.zeros((size, size), np.uint8)
    for label in range(1, int(rng.integers(3, 9))):
        centre = rng.integers(0, size, 2).tolist()
        axes = (rng.uniform(0.06, 0.35, 2) * size).astype(int).tolist()
        cv2.ellipse(labels, centre, axes, rng.uniform(0, 180), 0, 360, label, thickness=-1)
    return labels


def textured_picture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random scene in colours, with the grain of a photograph, uint8 [size, size, 3]."""
    colours = rng.integers(0, 256, (256, 3), np.uint8)
    grain = rng.normal(0, 12, (size, size, 3))
    blurred = cv2.GaussianBlur(colours[random_scene(size, rng)].astype(np.float32) + grain, (0, 0), 1)
    return np.clip(blurred, 0, 255).astype(np.uint8)
