"""The search of one crop: its points go through the decoder in batches, and poor masks are dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..postprocess import WindowLogits
from ..predictor import Predictor
from ..preprocess import Doubles, Floats, Pixels, Size
from ..prompts import Prompt
from .boxes import Box, box_above, is_cut_off, suppress, xywh
from .grid import Crop, point_grid, prompts_per_call
from .options import AutomaticOptions
from .record import AutomaticMask
from .rle import rle_from_window
from .stability import low_res_stability, resize_and_rate

# None of the 1,237 masks of nano that were stable enough (.7) was further below that at low resolution. Two
# thirds of all candidates need no resizing then, which at 12 megapixels takes longer than the decoder.
_STABILITY_MARGIN = 0.1


class Stopwatch:
    """Milliseconds of each stage, summed over crops and calls of the decoder.

    timings: stage -> milliseconds so far, in the order in which the stages first ran.
    """

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    def add(self, timings: Mapping[str, float]) -> None:
        """Adds milliseconds that were measured elsewhere."""
        for stage, ms in timings.items():
            self.timings[stage] = self.timings.get(stage, 0) + ms

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measures the block as a part of `stage`."""
        start = time.perf_counter()
        yield
        self.add({stage: (time.perf_counter() - start) * 1000})


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask that may be kept, at low resolution; `box` and `point_coords` are in pixels of the picture.

    logits: the window of the crop outside which no logit exceeds the generous threshold.
    """

    logits: WindowLogits
    box: Box
    predicted_iou: float
    point_coords: tuple[float, float]


@dataclass(frozen=True, eq=False)
class CropSearch:
    """A search in progress: `session` holds the encoded crop; `size` is the whole picture's (H, W)."""

    session: Predictor
    crop: Crop
    size: Size
    options: AutomaticOptions
    stopwatch: Stopwatch

    @classmethod
    def start(
        cls,
        predictor: Predictor,
        image: Pixels,
        crop: Crop,
        options: AutomaticOptions,
        stopwatch: Stopwatch,
    ) -> CropSearch:
        """Encodes the crop of `image` in a session of its own."""
        session = predictor.new_session()
        session.set_image(image[crop.y0 : crop.y1, crop.x0 : crop.x1])
        stopwatch.add(session.timings)
        return cls(session, crop, (image.shape[0], image.shape[1]), options, stopwatch)

    def batches(self) -> Iterator[Doubles]:
        """Yields the grid's points (x, y) in pixels of the crop, as many as one call of the decoder takes."""
        crop = self.crop
        points = point_grid(self.options.points_in_layer(crop.layer))
        points *= (crop.x1 - crop.x0, crop.y1 - crop.y0)
        step = prompts_per_call(self.session.manifest.image_size, self.options.memory_mib)
        for start in range(0, len(points), step):
            yield points[start : start + step]

    def candidates_at(self, points: Doubles) -> list[Candidate]:
        """Returns what may become a mask at `points`, from one call of the decoder."""
        prompts = [Prompt(points=[(x, y)]) for x, y in points.tolist()]
        low_res_masks, scores = self.session.decode(prompts, self.session.manifest.multimask)
        self.stopwatch.add({"decode": self.session.timings["decode"]})
        with self.stopwatch.timed("postprocess"):
            promising = np.argwhere(self._promising(low_res_masks, scores)).tolist()
            candidates = (
                self._candidate(low_res_masks[tuple(index)], float(scores[tuple(index)]), points[index[0]])
                for index in promising
            )
            return [candidate for candidate in candidates if candidate is not None]

    def distinct(self, candidates: Sequence[Candidate]) -> list[AutomaticMask]:
        """Returns each object once, by its best candidate that is stable, best first.

        Whether one is stable is only seen once it is resized, so that is left to those that no better mask
        suppresses.
        """
        masks: dict[int, AutomaticMask] = {}

        def is_stable(index: int) -> bool:
            mask = self._mask(candidates[index])
            if mask is not None:
                masks[index] = mask
            return mask is not None

        with self.stopwatch.timed("postprocess"):
            boxes = np.array([each.box for each in candidates], np.float64).reshape(-1, 4)
            scores = np.array([each.predicted_iou for each in candidates], np.float64)
            kept = suppress(boxes, scores, self.options.box_nms_thresh, is_stable)
            return [masks[index] for index in kept]

    def _promising(self, low_res_masks: Floats, scores: Floats) -> npt.NDArray[np.bool_]:
        """Returns which candidates are worth resizing, in the shape of `scores`."""
        options, geometry = self.options, self.session.geometry
        height, width = (-(-side // 4) for side in geometry.resized_size)
        stability = low_res_stability(
            low_res_masks[..., :height, :width],
            self.session.manifest.mask_threshold,
            options.stability_score_offset,
        )
        likely = stability >= options.stability_score_thresh - _STABILITY_MARGIN
        return (scores > options.pred_iou_thresh) & likely

    def _candidate(self, low_res_mask: Floats, score: float, point: Doubles) -> Candidate | None:
        """Returns a promising mask with its box; None where it is empty or cut off by the crop."""
        resizer, threshold = self.session.mask_resizer, self.session.manifest.mask_threshold
        box = box_above(resizer.window(low_res_mask, threshold), threshold)
        if box is None:
            return None
        left, top = self.crop.x0, self.crop.y0
        box = (left + box[0], top + box[1], left + box[2], top + box[3])
        if is_cut_off(box, self.crop.box, self.size):
            return None
        x, y = point.tolist()
        logits = resizer.window(low_res_mask, threshold - self.options.stability_score_offset)
        # A copy: a view would keep all masks of its call.
        logits = replace(logits, samples=logits.samples.copy())
        return Candidate(logits, box, score, (left + x, top + y))

    def _mask(self, candidate: Candidate) -> AutomaticMask | None:
        """Returns a candidate as a mask of the picture; None where it is not stable."""
        options, threshold = self.options, self.session.manifest.mask_threshold
        mask, stability = resize_and_rate(candidate.logits, threshold, options.stability_score_offset)
        if stability < options.stability_score_thresh:
            return None
        left, top = self.crop.x0 + mask.left, self.crop.y0 + mask.top
        return AutomaticMask(
            segmentation=rle_from_window(mask.pixels, top, left, self.size),
            area=int(np.count_nonzero(mask.pixels)),
            bbox=xywh(candidate.box),
            predicted_iou=candidate.predicted_iou,
            point_coords=candidate.point_coords,
            stability_score=stability,
            crop_box=xywh(self.crop.box),
        )
