"""Boxes of masks, in pixels of the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..preprocess import Size

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1), right and bottom exclusive."""
Xywh = tuple[int, int, int, int]
"""(x, y, width, height), as COCO counts them: one pixel is 1 wide. (SAM counts it 0 wide.)"""

# SAM's: a mask that ends this close to a cut was probably cut off by it.
_NEAR_PX = 20


def box_of(mask: npt.NDArray[np.bool_]) -> Box:
    """The tight box of a mask [h,w] that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def xywh(box: Box) -> Xywh:
    """The same box, by its size."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def xyxy(bbox: Xywh) -> Box:
    """The same box, by its corners."""
    x, y, width, height = bbox
    return x, y, x + width, y + height


def is_cut_off(box: Box, crop_box: Box, size: Size) -> bool:
    """Whether a box ends at an edge of the crop that is no edge of the picture (H, W)."""
    height, width = size
    edges = zip(box, crop_box, (0, 0, width, height), strict=True)
    return any(
        abs(side - cut) <= _NEAR_PX and abs(side - picture_edge) > _NEAR_PX
        for side, cut, picture_edge in edges
    )
