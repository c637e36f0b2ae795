"""Boxes around masks, in pixels of the picture, and the removal of boxes that nearly coincide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..postprocess import WindowLogits
from ..preprocess import Doubles, Size

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1), right and bottom exclusive."""
Xywh = tuple[int, int, int, int]
"""(x, y, width, height), as COCO counts them: one pixel is 1 wide. (SAM counts it 0 wide.)"""

# SAM's constant: a mask that ends this close to a cut was probably cut off by it.
_NEAR_PX = 20


def box_of(mask: npt.NDArray[np.bool_]) -> Box:
    """Returns the tight box around a mask [h,w] that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_above(logits: WindowLogits, threshold: float) -> Box | None:
    """Returns the tight box around what exceeds `threshold`, in the picture; None where nothing does.

    It is `box_of` the window's mask, of which strips at its four sides are resized, as wide as a sample. The
    samples at the sides of the smallest window exceed `threshold`, so one strip of each is mostly enough.
    """
    everything = slice(None)
    (height, width), (samples_down, samples_across) = logits.shape, logits.samples.shape
    rows = _extent(
        height, samples_down, lambda strip: np.any(logits.part(strip, everything).mask(threshold), axis=1)
    )
    if rows is None:
        return None
    within = slice(*rows)
    columns = _extent(
        width, samples_across, lambda strip: np.any(logits.part(within, strip).mask(threshold), axis=0)
    )
    assert columns is not None
    left, top = logits.left, logits.top
    return left + columns[0], top + rows[0], left + columns[1], top + rows[1]


def _extent(
    length: int, samples: int, is_above: Callable[[slice], npt.NDArray[np.bool_]]
) -> tuple[int, int] | None:
    """Returns the first and one past the last true index, looked for in strips from both ends."""
    step = -(-length // max(1, samples)) or 1
    for start in range(0, length, step):
        found = np.flatnonzero(is_above(slice(start, min(start + step, length))))
        if len(found):
            break
    else:
        return None
    first = start + int(found[0])
    for stop in range(length, first, -step):
        strip = slice(max(first, stop - step), stop)
        found = np.flatnonzero(is_above(strip))
        if len(found):
            break
    return first, strip.start + int(found[-1]) + 1


def xywh(box: Box) -> Xywh:
    """Returns the same box with its size instead of its far corner."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def xyxy(bbox: Xywh) -> Box:
    """Returns the same box with its far corner instead of its size."""
    x, y, width, height = bbox
    return x, y, x + width, y + height


def is_cut_off(box: Box, crop_box: Box, size: Size) -> bool:
    """Returns whether a box ends at an edge of the crop that is no edge of the picture (H, W)."""
    height, width = size
    edges = zip(box, crop_box, (0, 0, width, height), strict=True)
    return any(
        abs(side - cut) <= _NEAR_PX and abs(side - picture_edge) > _NEAR_PX
        for side, cut, picture_edge in edges
    )


def suppress(
    boxes: Doubles, scores: Doubles, threshold: float, is_sound: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """Returns the indices of the boxes [N,4] that greedy non-maximum suppression keeps, best score first.

    A box is dropped where its IoU with a better one that is kept is above `threshold`; of equal scores
    the earlier box is the better. `is_sound` is called with the index of each other box, best score first; a
    box for which it is false is dropped, too, and drops none.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        if is_sound(int(best)):
            kept.append(int(best))
            order = order[~(iou_with(boxes[best], boxes[order]) > threshold)]
    return kept


def iou_with(box: Doubles, boxes: Doubles) -> Doubles:
    """Returns [N], the intersection over union of `box` with each of `boxes` [N,4], none of them empty."""
    start, end = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(end - start, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    iou: Doubles = shared / (np.prod(box[2:] - box[:2]) + areas - shared)
    return iou
