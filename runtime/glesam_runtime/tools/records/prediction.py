"""The answer to prompts: masks, scores and logits, and the forms in which other programs take masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...preprocess import Floats

if TYPE_CHECKING:  # what follows is imported by the methods that need it
    from ...automatic.rle import Rle


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks of N prompts; with multimask each array has an axis of three candidates after N.

    masks: bool [N,H,W] in pixels of the original image. iou_predictions: float32 [N], the model's own
    estimate of each mask's IoU. low_res_masks: float32 [N,S/4,S/4], logits that can be a mask_input.
    degradation_level: how bad the picture is, see Predictor.degradation_level.

    The lists that methods return have one entry for each mask, candidates one after another.
    """

    masks: npt.NDArray[np.bool_]
    iou_predictions: Floats
    low_res_masks: Floats
    degradation_level: float | None = None

    @property
    def boxes(self) -> Floats:
        """Tight boxes (x0, y0, x1, y1), float32 [N,4] or [N,3,4], right and bottom exclusive.

        The box of an empty mask is all zeros.
        """
        from ...automatic.boxes import box_of

        boxes = [box_of(mask) if mask.any() else (0, 0, 0, 0) for mask in self._each()]
        return np.array(boxes, np.float32).reshape(*self.masks.shape[:-2], 4)

    def polygons(self) -> list[list[list[int]]]:
        """Returns the outlines of each mask's regions, each [x0, y0, x1, y1, ...] along edges of pixels.

        COCO's polygons have no holes, so these fill them; rle() keeps them.
        """
        from .polygons import outlines

        return [outlines(mask) for mask in self._each()]

    def rle(self) -> list[Rle]:
        """Returns each mask in COCO's compressed RLE."""
        from ...automatic.rle import rle_from_mask

        return [rle_from_mask(mask) for mask in self._each()]

    def to_json(self) -> str:
        """Returns the masks as a JSON object, of the kind "picture" in schema.json_schema()."""
        from .schema import level_record, mask_record

        height, width = self.masks.shape[-2:]
        scores, candidates = self.iou_predictions.reshape(-1), self._candidates()
        records = [
            mask_record(mask, float(score), index // candidates)
            for index, (mask, score) in enumerate(zip(self._each(), scores, strict=True))
        ]
        return json.dumps(
            {"width": width, "height": height, **level_record(self.degradation_level), "masks": records}
        )

    def to_supervision(self) -> Any:  # noqa: ANN401
        """Returns supervision.Detections with boxes, masks, and scores as confidence.

        `data["prompt"]` has the prompt's index of each. Raises ImportError where supervision is absent.
        """
        import supervision  # an application that asks for its type has it; this package does not need it

        height, width = self.masks.shape[-2:]
        masks = self.masks.reshape(-1, height, width)
        return supervision.Detections(
            xyxy=self.boxes.reshape(-1, 4),
            mask=masks,
            confidence=self.iou_predictions.reshape(-1),
            data={"prompt": np.arange(len(masks)) // self._candidates()},
        )

    def _each(self) -> Iterator[npt.NDArray[np.bool_]]:
        return iter(self.masks.reshape(-1, *self.masks.shape[-2:]))

    def _candidates(self) -> int:
        return self.masks.shape[1] if self.masks.ndim == 4 else 1


@dataclass(frozen=True, eq=False)
class DevicePrediction:
    """Logits and scores of N prompts, left in the backend's memory: see Predictor.predict_on_device.

    Shapes and meaning are those of Prediction. On a GPU both arrays have `__cuda_array_interface__` and
    DLPack, and low_res_masks is a view with strides; on a CPU they are numpy arrays.
    """

    low_res_masks: Any
    iou_predictions: Any
