"""The innermost pixel of an object: where interactive segmentation benchmarks place the first click."""

from __future__ import annotations

import cv2
import numpy as np

from glesam.data.label_maps import mask_box
from glesam.data.masks import Mask


def innermost_pixel(mask: Mask) -> tuple[int, int]:
    """Returns (x, y), the pixel of a bool [H, W] mask that is farthest from the pixels outside the mask.

    Distance is Euclidean, and what lies beyond the picture's border is outside too. Of several such pixels
    the first one counts, row by row. The mask has at least one pixel.
    """
    x0, y0, x1, y1 = mask_box(mask)
    inside = np.pad(mask[y0:y1, x0:x1], 1).astype(np.uint8)  # nothing nearer lies beyond the box and this rim
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)
    squared = np.rint(depth**2)  # whole numbers, so that rounding in OpenCV decides no tie
    row, column = divmod(int(squared.argmax()), squared.shape[1])
    return x0 + column - 1, y0 + row - 1
