"""Objects of a label map: the connected parts of its labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import Mask

MIN_OBJECT_PX = 400
"""Smallest area of an object that is prompted, in pixels of the stored picture."""


def objects(
    labels: NDArray[np.integer[Any]], ignored_labels: tuple[int, ...], min_px: int = MIN_OBJECT_PX
) -> list[Mask]:
    """Connected parts of every label, largest first: bool [H, W] masks of at least `min_px` px.

    `labels` [H, W] of any integer type; the labels' values do not matter.
    """
    parts = sorted(_large_parts(labels, ignored_labels, min_px), key=lambda part: -part[0])
    return [mask for _, mask in parts]


def _large_parts(
    labels: NDArray[np.integer[Any]], ignored_labels: tuple[int, ...], min_px: int
) -> Iterator[tuple[int, Mask]]:
    values, areas = np.unique(labels, return_counts=True)
    for label in np.setdiff1d(values[areas >= min_px], ignored_labels):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        for i in range(1, count):
            if (area := int(stats[i, cv2.CC_STAT_AREA])) >= min_px:
                yield area, parts == i


def mask_box(mask: Mask) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) of a mask in px; x1 and y1 are the first column and row after it."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
