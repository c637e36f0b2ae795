"""One automatic mask, with the fields of SAM's own record."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .boxes import Xywh, box_of, xywh
from .regions import without_small_regions
from .rle import Rle, mask_from_rle, rle_from_mask


@dataclass(frozen=True)
class AutomaticMask:
    """One object. Coordinates are pixels of the whole picture; boxes are (x, y, width, height).

    segmentation: COCO RLE of the picture's size; mask() unpacks it. area: in pixels.
    predicted_iou: the model's own estimate of the mask's quality. point_coords: the prompt, a point (x, y).
    stability_score: see resize_and_rate. crop_box: the crop, or the whole picture.
    """

    segmentation: Rle
    area: int
    bbox: Xywh
    predicted_iou: float
    point_coords: tuple[float, float]
    stability_score: float
    crop_box: Xywh

    def mask(self) -> npt.NDArray[np.bool_]:
        """Returns bool [H,W]; it is not kept, since a hundred masks of a photograph take a gigabyte."""
        return mask_from_rle(self.segmentation)

    def without_small_regions(self, min_area: int) -> AutomaticMask:
        """Returns the mask without islands and holes of fewer than `min_area` pixels, or itself."""
        old = self.mask()
        new = without_small_regions(old, min_area)
        if np.array_equal(old, new):
            return self
        area = int(np.count_nonzero(new))
        return replace(self, segmentation=rle_from_mask(new), area=area, bbox=xywh(box_of(new)))
