"""One crop, searched: its points in batches through the decoder, and what comes out filtered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..predictor import Predictor
from ..preprocess import Doubles, Floats, Pixels, Size
from ..prompts import Prompt
from .batches import prompts_per_call
from .boxes import box_of, is_cut_off, xywh
from .grid import Crop, point_grid
from .options import AutomaticOptions
from .record import AutomaticMask
from .rle import rle_from_window
from .stability import low_res_stability, resize_and_rate
from .stopwatch import Stopwatch

# Of nano's 1,237 masks that were stable enough (.7) none was further below that at low resolution. It spares
# two thirds of all candidates the resizing, which at 12 megapixels takes longer than the decoder.
_STABILITY_MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class CropSearch:
    """`session` holds the crop; `size` is the whole picture's (H, W)."""

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
        """Encode the crop of `image`, in a session of its own."""
        session = predictor.new_session()
        session.set_image(image[crop.y0 : crop.y1, crop.x0 : crop.x1])
        stopwatch.add(session.timings)
        return cls(session, crop, (image.shape[0], image.shape[1]), options, stopwatch)

    def batches(self) -> Iterator[Doubles]:
        """The grid's points (x, y) in pixels of the crop, as many as one call of the decoder takes."""
        crop = self.crop
        points = point_grid(self.options.points_in_layer(crop.layer))
        points *= (crop.x1 - crop.x0, crop.y1 - crop.y0)
        step = prompts_per_call(self.session.manifest.image_size, self.options.memory_mib)
        for start in range(0, len(points), step):
            yield points[start : start + step]

    def ask(self, points: Doubles) -> list[AutomaticMask]:
        """The sure, stable and whole masks at `points`: one call of the decoder."""
        prompts = [Prompt(points=[(x, y)]) for x, y in points.tolist()]
        low_res_masks, scores = self.session.decode(prompts, self.session.manifest.multimask)
        self.stopwatch.add({"decode": self.session.timings["decode"]})
        with self.stopwatch.timed("postprocess"):
            promising = np.argwhere(self._promising(low_res_masks, scores)).tolist()
            found = (
                self._mask(low_res_masks[tuple(index)], float(scores[tuple(index)]), points[index[0]])
                for index in promising
            )
            return [mask for mask in found if mask is not None]

    def _promising(self, low_res_masks: Floats, scores: Floats) -> npt.NDArray[np.bool_]:
        """Which candidates are worth resizing, of the shape of `scores`."""
        options, geometry = self.options, self.session.geometry
        height, width = (-(-side // 4) for side in geometry.resized_size)
        stability = low_res_stability(
            low_res_masks[..., :height, :width],
            self.session.manifest.mask_threshold,
            options.stability_score_offset,
        )
        likely = stability >= options.stability_score_thresh - _STABILITY_MARGIN
        return (scores > options.pred_iou_thresh) & likely

    def _mask(self, low_res_mask: Floats, score: float, point: Doubles) -> AutomaticMask | None:
        options = self.options
        threshold = self.session.manifest.mask_threshold
        mask, stability = resize_and_rate(
            self.session.mask_resizer, low_res_mask, threshold, options.stability_score_offset
        )
        if stability < options.stability_score_thresh or not mask.pixels.any():
            return None
        left, top = self.crop.x0 + mask.left, self.crop.y0 + mask.top
        x0, y0, x1, y1 = box_of(mask.pixels)
        box = (left + x0, top + y0, left + x1, top + y1)
        if is_cut_off(box, self.crop.box, self.size):
            return None
        x, y = point.tolist()
        return AutomaticMask(
            segmentation=rle_from_window(mask.pixels, top, left, self.size),
            area=int(np.count_nonzero(mask.pixels)),
            bbox=xywh(box),
            predicted_iou=score,
            point_coords=(self.crop.x0 + x, self.crop.y0 + y),
            stability_score=stability,
            crop_box=xywh(self.crop.box),
        )
