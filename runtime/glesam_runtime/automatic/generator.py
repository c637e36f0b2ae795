"""The whole procedure: searches the picture and its crops, and keeps each object once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..image_io.inputs import check_image
from ..predictor import Predictor
from ..preprocess import Pixels
from .boxes import suppress, xyxy
from .grid import crops_of
from .options import AutomaticOptions
from .record import AutomaticMask
from .search import Candidate, CropSearch, Stopwatch

OnPoints = Callable[[int], None]
"""Called after each call of the decoder with the number of points that it answered."""


class AutomaticMasks:
    """Finds the masks of every object in a picture. Give each thread one of its own."""

    def __init__(self, predictor: Predictor, options: AutomaticOptions | None = None) -> None:
        """Uses the engines of `predictor`, which keeps its picture; `options` default to its model's."""
        self.options = options or AutomaticOptions.for_model(predictor.manifest.sam_type)
        self.timings: dict[str, float] = {}
        """Milliseconds of each stage for the last picture, summed over crops and calls of the decoder."""
        self.degradation_level: float | None = None
        """That of the last picture, as a whole: see Predictor.degradation_level."""
        self._predictor = predictor

    def generate(self, image: Pixels, on_points: OnPoints = lambda _: None) -> list[AutomaticMask]:
        """Returns the masks of `image`, uint8 [H,W,3] RGB, the largest first; there may be none.

        Raises ImageError for anything else, BackendError where the graphs answer with NaN.
        """
        check_image(image)
        options, stopwatch = self.options, Stopwatch()
        self.timings = stopwatch.timings
        size = image.shape[0], image.shape[1]
        masks: list[AutomaticMask] = []
        for crop in crops_of(size, options.crop_n_layers, options.crop_overlap_ratio):
            search = CropSearch.start(self._predictor, image, crop, options, stopwatch)
            if crop.layer == 0:
                self.degradation_level = search.session.degradation_level
            masks += _search(search, on_points)
        with stopwatch.timed("postprocess"):
            if options.crop_n_layers:
                masks = _from_smallest_crops(masks, options.crop_nms_thresh)
            if options.min_mask_region_area:
                masks = _cleaned(masks, options)
            return sorted(masks, key=lambda mask: -mask.area)


def _search(search: CropSearch, on_points: OnPoints) -> list[AutomaticMask]:
    """Returns each object of one crop once, by the mask that the model scores best."""
    candidates: list[Candidate] = []
    for points in search.batches():
        candidates += search.candidates_at(points)
        on_points(len(points))
    return search.distinct(candidates)


def _from_smallest_crops(masks: Sequence[AutomaticMask], threshold: float) -> list[AutomaticMask]:
    """Returns each object once. A smaller crop shows it larger, so its mask is preferred."""
    return _distinct(masks, [-mask.crop_box[2] * mask.crop_box[3] for mask in masks], threshold)


def _cleaned(masks: Sequence[AutomaticMask], options: AutomaticOptions) -> list[AutomaticMask]:
    """Returns the masks without small islands and holes; new duplicates give way to unchanged masks."""
    cleaned = [mask.without_small_regions(options.min_mask_region_area) for mask in masks]
    unchanged = [float(new is old) for new, old in zip(cleaned, masks, strict=True)]
    return _distinct(cleaned, unchanged, max(options.box_nms_thresh, options.crop_nms_thresh))


def _distinct(
    masks: Sequence[AutomaticMask], preference: Sequence[float], threshold: float
) -> list[AutomaticMask]:
    """Returns the masks that non-maximum suppression of their boxes keeps, most preferred first."""
    boxes = np.array([xyxy(mask.bbox) for mask in masks], np.float64).reshape(-1, 4)
    return [masks[index] for index in suppress(boxes, np.array(preference, np.float64), threshold)]
