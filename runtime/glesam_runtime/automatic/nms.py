"""Duplicates: of masks whose boxes nearly coincide, the best one stays."""

from __future__ import annotations

import numpy as np

from ..preprocess import Doubles


def suppress(boxes: Doubles, scores: Doubles, threshold: float) -> list[int]:
    """Greedy non-maximum suppression: indices of the boxes [N,4] that stay, best score first.

    A box goes where its IoU with a better one that stays is above `threshold`; of equal scores the
    earlier box is the better.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[iou_with(boxes[best], boxes[rest]) <= threshold]
    return kept


def iou_with(box: Doubles, boxes: Doubles) -> Doubles:
    """[N]: intersection over union of one box with each of `boxes` [N,4], none of them empty."""
    start, end = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(end - start, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    iou: Doubles = shared / (np.prod(box[2:] - box[:2]) + areas - shared)
    return iou
