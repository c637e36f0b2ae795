"""The settings of automatic masks, under SAM's names and with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import PromptError

_FRACTIONS = (
    "pred_iou_thresh",
    "stability_score_thresh",
    "box_nms_thresh",
    "crop_nms_thresh",
    "crop_overlap_ratio",
)
# Each further layer has four times as many crops; 4 layers are 341 of them, hours on a CPU.
_MAX_CROP_LAYERS = 4
_MAX_POINTS_PER_SIDE = 256

# SAM's thresholds expect SAM's logits and SAM's scores: with them nano gives no mask at all. These were
# measured on development pictures (measurements/README.md).
MEASURED: dict[str, dict[str, Any]] = {
    "nano": {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.6},
}
"""Defaults of a model that differ from SAM's, by SAM type."""
SAM2 = {"pred_iou_thresh": 0.8}
"""Defaults of SAM2AutomaticMaskGenerator that differ from SAM's (facebookresearch/sam2)."""


@dataclass(frozen=True)
class AutomaticOptions:
    """Settings of AutomaticMasks. The defaults are SAM's; for_model gives those of another model.

    points_per_side: side of the point grid, in the picture and in each crop; crops of layer n have
    points_per_side / crop_n_points_downscale_factor**n.
    pred_iou_thresh, stability_score_thresh: a mask is kept whose predicted IoU is above the one and whose
    stability_score is at least the other. stability_score_offset: in logits.
    box_nms_thresh: of two masks whose boxes have a higher IoU, the better one is kept.
    crop_nms_thresh: the same between crops, where the mask of the smaller crop is kept.
    crop_n_layers: layer n cuts the picture into 2**n x 2**n crops; crops of the first layer overlap by
    crop_overlap_ratio of the short side, those of each deeper layer by half as much.
    min_mask_region_area: islands and holes of fewer pixels are removed; 0 removes none.
    memory_mib: memory for one call of the decoder [MiB]; see prompts_per_call.

    Raises PromptError for a number out of range.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    memory_mib: int = 512

    @classmethod
    def for_model(cls, sam_type: str, **chosen: float) -> AutomaticOptions:
        """Returns the defaults of a model of `sam_type`, with `chosen` in place of some."""
        own = SAM2 if sam_type.startswith("sam2") else MEASURED.get(sam_type, {})
        values: dict[str, Any] = own | chosen
        return cls(**values)

    def __post_init__(self) -> None:
        self._check("points_per_side", 1, _MAX_POINTS_PER_SIDE)
        self._check("crop_n_layers", 0, _MAX_CROP_LAYERS)
        self._check("crop_n_points_downscale_factor", 1, _MAX_POINTS_PER_SIDE)
        self._check("min_mask_region_area", 0)
        self._check("memory_mib", 1)
        self._check("stability_score_offset", 0)
        for name in _FRACTIONS:
            self._check(name, 0, 1)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and not float(value).is_integer():
                raise PromptError(f"automatic masks: {field.name}: expected a whole number, found {value:g}")

    def points_in_layer(self, layer: int) -> int:
        """Returns the points per side, at least one, in the crops of `layer`; 0 is the whole picture."""
        factor: int = self.crop_n_points_downscale_factor**layer
        return max(1, self.points_per_side // factor)

    def points_per_picture(self) -> int:
        """Returns the number of points in one picture, its crops included."""
        layers = range(self.crop_n_layers + 1)
        return sum((2**layer * self.points_in_layer(layer)) ** 2 for layer in layers)

    def _check(self, name: str, least: float, most: float = float("inf")) -> None:
        value = getattr(self, name)
        # Written so that NaN, which compares false with everything, is refused too.
        if not least <= value <= most:
            range_ = f"at least {least:g}" if most == float("inf") else f"{least:g} to {most:g}"
            raise PromptError(f"automatic masks: {name}: expected {range_}, found {value:g}")
