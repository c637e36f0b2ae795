"""segment-anything's SamAutomaticMaskGenerator on a bundle.

AutomaticMasks is this project's own: it has COCO's boxes, a limit on memory, and leaves candidates out early
that are not stable at low resolution. This one counts and orders as segment-anything does, to the last pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..automatic.boxes import box_of, is_cut_off, suppress, xywh
from ..automatic.grid import Crop, crops_of, point_grid
from ..automatic.options import AutomaticOptions
from ..automatic.regions import without_small_regions
from ..automatic.rle import rle_from_runs, runs_of_window
from ..automatic.stability import resize_and_rate
from ..errors import PromptError
from ..image_io.inputs import as_pixels
from ..predictor import Predictor
from ..preprocess import Doubles, Pixels, Size
from ..prompts import FOREGROUND, PADDING, PromptTensors
from .model import PromptAssertionError, Sam
from .predictor import SamPredictor

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
Corners = tuple[int, int, int, int]
"""(x0, y0, x1, y1) of the first and the last pixel, as segment-anything counts: one pixel is 0 wide."""


@dataclass(frozen=True)
class _Candidate:
    """One mask in the whole picture. runs: its uncompressed RLE. crop_box: right and bottom exclusive."""

    runs: list[int]
    box: Corners
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: Corners


class SamAutomaticMaskGenerator:
    """Finds the masks of every object in a picture; its parameters and records are segment-anything's."""

    def __init__(
        self,
        model: Sam | Predictor,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[npt.NDArray[Any]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        """Takes segment-anything's parameters; without the first two thresholds, those of the model.

        They are segment-anything's .88 and .95 for SAM's own models. point_grids: points in [0,1], [P,2] for
        each layer of crops, instead of points_per_side.
        Raises PromptAssertionError, an AssertionError, for both or neither of them and for another
        output_mode than binary_mask, uncompressed_rle and coco_rle; PromptError for a number out of range.
        """
        if (points_per_side is None) == (point_grids is None):
            raise PromptAssertionError("Exactly one of points_per_side or point_grids must be provided")
        if output_mode not in OUTPUT_MODES:
            raise PromptAssertionError(
                f"output_mode: expected {' or '.join(OUTPUT_MODES)}, found {output_mode!r}"
            )
        if points_per_batch < 1:
            raise PromptError(f"points_per_batch: expected at least 1, found {points_per_batch}")
        self.predictor = SamPredictor(model)
        chosen = {"pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh}
        self._options = AutomaticOptions.for_model(
            self.predictor.session.manifest.sam_type,
            points_per_side=1 if points_per_side is None else points_per_side,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            min_mask_region_area=min_mask_region_area,
            **{name: value for name, value in chosen.items() if value is not None},
        )
        layers = range(crop_n_layers + 1)
        self.point_grids = point_grids or [point_grid(self._options.points_in_layer(x)) for x in layers]
        self.points_per_batch = points_per_batch
        self.output_mode = output_mode

    def generate(self, image: Pixels) -> list[dict[str, Any]]:
        """Returns a record for each mask of `image`, uint8 [H,W,3] RGB, in segment-anything's order.

        segmentation: bool [H,W], or the RLE of output_mode. area: pixels. bbox, crop_box: x, y, width and
        height. predicted_iou, stability_score: floats. point_coords: [[x, y]], the prompt.
        """
        pixels, options = as_pixels(image), self._options
        size = pixels.shape[0], pixels.shape[1]
        crops = list(crops_of(size, options.crop_n_layers, options.crop_overlap_ratio))
        masks = [mask for crop in crops for mask in self._search(pixels, crop)]
        if len(crops) > 1:  # the masks of smaller crops are preferred
            masks = _distinct(masks, [1 / _area(mask.crop_box) for mask in masks], options.crop_nms_thresh)
        if options.min_mask_region_area > 0:
            masks = _cleaned(masks, size, options)
        return [self._record(mask, size) for mask in masks]

    def _search(self, image: Pixels, crop: Crop) -> list[_Candidate]:
        """Returns each object of one crop once, the best score first."""
        self.predictor.set_image(image[crop.y0 : crop.y1, crop.x0 : crop.x1])
        points = np.asarray(self.point_grids[crop.layer]) * (crop.x1 - crop.x0, crop.y1 - crop.y0)
        size = image.shape[0], image.shape[1]
        step = self.points_per_batch
        masks = [
            mask
            for start in range(0, len(points), step)
            for mask in self._masks_at(points[start : start + step], crop, size)
        ]
        self.predictor.reset_image()
        return _distinct(masks, [mask.predicted_iou for mask in masks], self._options.box_nms_thresh)

    def _masks_at(self, points: Doubles, crop: Crop, size: Size) -> Iterator[_Candidate]:
        """Yields the masks at points (x, y) of the crop that pass the thresholds; one call of the decoder."""
        session = self.predictor.session
        coords = np.zeros((len(points), 2, 2), np.float32)
        coords[:, 0] = session.geometry.to_input(points)
        labels = np.tile(np.array([FOREGROUND, PADDING], np.int32), (len(points), 1))
        prompts = PromptTensors.without_masks(coords, labels, session.manifest.image_size)
        low_res_masks, scores = session.decode(prompts, session.manifest.multimask)
        candidates = scores.size // len(points)
        flat_masks = low_res_masks.reshape(-1, *low_res_masks.shape[-2:])
        for index, (mask, score) in enumerate(zip(flat_masks, scores.ravel().tolist(), strict=True)):
            if self._options.pred_iou_thresh > 0 and not score > self._options.pred_iou_thresh:
                continue
            x, y = points[index // candidates].tolist()
            found = self._candidate(mask, crop, size)
            if found is not None:
                yield replace(found, predicted_iou=score, point=(crop.x0 + x, crop.y0 + y))

    def _candidate(self, low_res_mask: npt.NDArray[np.float32], crop: Crop, size: Size) -> _Candidate | None:
        """Returns a mask in the whole picture; None where it is unstable, or cut off by the crop."""
        session, options = self.predictor.session, self._options
        threshold, offset = session.manifest.mask_threshold, options.stability_score_offset
        window = session.mask_resizer.window(low_res_mask, threshold - offset)
        mask, stability = resize_and_rate(window, threshold, offset)
        if options.stability_score_thresh > 0 and not stability >= options.stability_score_thresh:
            return None
        left, top = crop.x0 + mask.left, crop.y0 + mask.top
        box = (crop.x0, crop.y0, crop.x0, crop.y0)
        if mask.pixels.any():
            x0, y0, x1, y1 = box_of(mask.pixels)
            box = (left + x0, top + y0, left + x1 - 1, top + y1 - 1)
        if is_cut_off(box, crop.box, size):
            return None
        runs = runs_of_window(mask.pixels, top, left, size)
        # torch divides the two numbers of pixels in float32
        return _Candidate(runs, box, 0.0, float(np.float32(stability)), (0.0, 0.0), crop.box)

    def _record(self, mask: _Candidate, size: Size) -> dict[str, Any]:
        segmentation: Any = {"size": list(size), "counts": mask.runs}
        if self.output_mode == "binary_mask":
            segmentation = _mask_of(mask.runs, size)
        elif self.output_mode == "coco_rle":
            segmentation = rle_from_runs(mask.runs, size)
        return {
            "segmentation": segmentation,
            "area": sum(mask.runs[1::2]),
            "bbox": list(xywh(mask.box)),
            "predicted_iou": mask.predicted_iou,
            "point_coords": [list(mask.point)],
            "stability_score": mask.stability_score,
            "crop_box": list(xywh(mask.crop_box)),
        }


def _cleaned(masks: Sequence[_Candidate], size: Size, options: AutomaticOptions) -> list[_Candidate]:
    """Returns the masks without small islands and holes; new duplicates give way to masks without any."""
    least, cleaned, had_none = options.min_mask_region_area, [], []
    for candidate in masks:
        old = _mask_of(candidate.runs, size)
        new = without_small_regions(old, least)
        # An only island that is small stays, but counts as small.
        had_none.append(float(np.array_equal(old, new) and np.count_nonzero(old) >= least))
        if not had_none[-1] and new.any():
            x0, y0, x1, y1 = box_of(new)
            runs = runs_of_window(new, 0, 0, size)
            candidate = replace(candidate, runs=runs, box=(x0, y0, x1 - 1, y1 - 1))
        cleaned.append(candidate)
    return _distinct(cleaned, had_none, max(options.box_nms_thresh, options.crop_nms_thresh))


def _distinct(masks: Sequence[_Candidate], scores: Sequence[float], threshold: float) -> list[_Candidate]:
    """Returns the masks that non-maximum suppression of their boxes keeps, the best score first."""
    boxes = np.array([mask.box for mask in masks], np.float64).reshape(-1, 4)
    with np.errstate(
        invalid="ignore"
    ):  # masks of one pixel have boxes without an area, which nothing overlaps
        kept = suppress(boxes, np.array(scores, np.float64), threshold)
    return [masks[index] for index in kept]


def _mask_of(runs: Sequence[int], size: Size) -> npt.NDArray[np.bool_]:
    """Returns the mask, bool [H,W], of an uncompressed RLE."""
    height, width = size
    values = np.arange(len(runs)) % 2 == 1
    mask: npt.NDArray[np.bool_] = np.repeat(values, runs).reshape(width, height).T
    return mask


def _area(box: Corners) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
