"""One automatic mask, in SAM's words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..rle import Rle, mask_from_rle
from .boxes import Xywh


@dataclass(frozen=True)
class AutomaticMask:
    """Coordinates are pixels of the whole picture; boxes are (x, y, width, height).

    segmentation: COCO RLE of the picture's size, `mask` unpacks it. area: in pixels. predicted_iou:
    the model's own estimate of the quality. point_coords: the point (x, y) that asked for it.
    stability_score: see resize_and_rate. crop_box: the crop it was found in, or the whole picture.
    """

    segmentation: Rle
    area: int
    bbox: Xywh
    predicted_iou: float
    point_coords: tuple[float, float]
    stability_score: float
    crop_box: Xywh

    def mask(self) -> npt.NDArray[np.bool_]:
        """bool [H,W]; not kept, since a hundred masks of a photograph are a gigabyte."""
        return mask_from_rle(self.segmentation)
