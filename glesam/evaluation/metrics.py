"""How close a mask is to the truth: IoU, Dice, boundary IoU, pixel accuracy.

Every function takes two bool [H,W] masks, the truth of at least one pixel, and returns a number in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

BOUNDARY_DILATION = 0.02
"""Width of the boundary band as a share of the picture's diagonal (Cheng et al., CVPR 2021)."""


def iou(mask: Mask, truth: Mask) -> float:
    """Intersection over union."""
    return _ratio(int((mask & truth).sum()), int((mask | truth).sum()))


def dice(mask: Mask, truth: Mask) -> float:
    """Twice the intersection over the sum of both areas."""
    return _ratio(2 * int((mask & truth).sum()), int(mask.sum()) + int(truth.sum()))


def boundary_iou(mask: Mask, truth: Mask, dilation: float = BOUNDARY_DILATION) -> float:
    """IoU of the two inner boundary bands, each `dilation` x diagonal wide (Cheng et al., CVPR 2021)."""
    return iou(boundary(mask, dilation), boundary(truth, dilation))


def pixel_accuracy(mask: Mask, truth: Mask) -> float:
    """Share of the picture's pixels, background included, that are labelled as in the truth."""
    return float((mask == truth).mean())


def boundary(mask: Mask, dilation: float = BOUNDARY_DILATION) -> Mask:
    """The mask's pixels within round(`dilation` x diagonal), at least 1, px of its contour.

    Distance is the chessboard's, as in the paper's code, and the picture's edge counts as contour.
    """
    steps = max(1, round(dilation * float(np.hypot(*mask.shape))))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)[1:-1, 1:-1]
    band: Mask = mask & ~eroded.astype(bool)
    return band


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def multimask_ious(
    candidates: NDArray[np.bool_], predicted: NDArray[np.floating], truth: Mask
) -> dict[str, float]:
    """Multimask metrics of one object: IoU of the best candidate, and of the one predicted to be best.

    `candidates` bool [3,H,W]; `predicted` [3], the model's estimate of their IoU. The best one is an oracle:
    only the truth tells which it is.
    """
    ious = [iou(mask, truth) for mask in candidates]
    return dict(zip(MULTIMASK_METRICS, (max(ious), ious[int(predicted.argmax())]), strict=True))


METRICS = {"iou": iou, "dice": dice, "boundary_iou": boundary_iou, "pixel_accuracy": pixel_accuracy}
"""Metrics by the name of their column in results.csv."""
MULTIMASK_METRICS = ("best_of_three", "chosen")
"""Columns of `multimask_ious`, after those of METRICS; empty for a method without multimask."""
