"""The whole procedure: search the picture and its crops, keep each object once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..predictor import Predictor, check_image
from ..preprocess import Pixels
from .boxes import xyxy
from .grid import crops_of
from .nms import suppress
from .options import AutomaticOptions
from .record import AutomaticMask
from .search import CropSearch
from .stopwatch import Stopwatch

OnPoints = Callable[[int], None]
"""Hears after each call of the decoder how many points it answered."""


class AutomaticMasks:
    """Finds masks all over a picture. For several threads, give each its own."""

    def __init__(self, predictor: Predictor, options: AutomaticOptions | None = None) -> None:
        """Use the engines of `predictor`, which keeps the picture it has. No options: its model's."""
        self.options = options or AutomaticOptions.for_model(predictor.manifest.sam_type)
        self.timings: dict[str, float] = {}
        """Milliseconds of each stage in the last picture, summed over crops and calls of the decoder."""
        self._predictor = predictor

    def generate(self, image: Pixels, on_points: OnPoints = lambda _: None) -> list[AutomaticMask]:
        """uint8 [H,W,3] RGB -> its masks, the largest first. There may be none.

        Raises ImageError for anything else, BackendError where the graphs answer with NaN.
        """
        check_image(image)
        options, stopwatch = self.options, Stopwatch()
        self.timings = stopwatch.timings
        size = image.shape[0], image.shape[1]
        found: list[AutomaticMask] = []
        for crop in crops_of(size, options.crop_n_layers, options.crop_overlap_ratio):
            search = CropSearch.start(self._predictor, image, crop, options, stopwatch)
            found += _search(search, on_points)
        with stopwatch.timed("postprocess"):
            if options.crop_n_layers:
                found = _from_smallest_crops(found, options.crop_nms_thresh)
            if options.min_mask_region_area:
                found = _cleaned(found, options)
            return sorted(found, key=lambda mask: -mask.area)


def _search(search: CropSearch, on_points: OnPoints) -> list[AutomaticMask]:
    """Each object of one crop once: in the mask that the model itself thinks best."""
    found: list[AutomaticMask] = []
    for points in search.batches():
        found += search.ask(points)
        on_points(len(points))
    with search.stopwatch.timed("postprocess"):
        return _distinct(found, [mask.predicted_iou for mask in found], search.options.box_nms_thresh)


def _from_smallest_crops(masks: Sequence[AutomaticMask], threshold: float) -> list[AutomaticMask]:
    """Each object once. A smaller crop shows it larger, so its mask is preferred."""
    return _distinct(masks, [-mask.crop_box[2] * mask.crop_box[3] for mask in masks], threshold)


def _cleaned(masks: Sequence[AutomaticMask], options: AutomaticOptions) -> list[AutomaticMask]:
    """Without small islands and holes; of masks that have become duplicates, one that was clean before."""
    cleaned = [mask.without_small_regions(options.min_mask_region_area) for mask in masks]
    unchanged = [float(new is old) for new, old in zip(cleaned, masks, strict=True)]
    return _distinct(cleaned, unchanged, max(options.box_nms_thresh, options.crop_nms_thresh))


def _distinct(
    masks: Sequence[AutomaticMask], preference: Sequence[float], threshold: float
) -> list[AutomaticMask]:
    boxes = np.array([xyxy(mask.bbox) for mask in masks], np.float64).reshape(-1, 4)
    return [masks[index] for index in suppress(boxes, np.array(preference, np.float64), threshold)]
