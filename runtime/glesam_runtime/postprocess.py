"""From low-resolution logits back to masks of the original picture.

SAM resizes twice: S/4 -> S, cut the padding away, -> the original size. Both steps are bilinear,
so linear along each axis, and compose into one small matrix per axis:

    logits = rows @ low_res_mask @ columns.T        rows [H, S/4], columns [W, S/4]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .preprocess import Doubles, Floats, Geometry

_BLOCK_PIXELS = 1 << 22  # 16 MiB of float32 logits at a time, however large the picture


@dataclass(frozen=True)
class MaskResizer:
    """Resizes low-resolution masks to one picture: made once in set_image, used per prompt."""

    rows: Floats
    columns: Floats

    @classmethod
    def for_geometry(cls, geometry: Geometry) -> MaskResizer:
        """The matrices that undo `geometry`."""
        height, width = geometry.original_size
        resized_height, resized_width = geometry.resized_size
        return cls(_axis(height, resized_height, geometry), _axis(width, resized_width, geometry))

    def masks(self, low_res_masks: Floats, threshold: float) -> npt.NDArray[np.bool_]:
        """float32 logits [..., S/4, S/4] -> bool [..., H, W], true where logits > threshold."""
        height, width = len(self.rows), len(self.columns)
        masks = np.empty((*low_res_masks.shape[:-2], height, width), bool)
        step = max(1, _BLOCK_PIXELS // width)
        for index in np.ndindex(*low_res_masks.shape[:-2]):
            stretched = low_res_masks[index] @ self.columns.T
            for top in range(0, height, step):
                block = slice(top, top + step)
                np.greater(self.rows[block] @ stretched, threshold, out=masks[index][block])
        return masks


def _axis(size: int, resized_size: int, geometry: Geometry) -> Floats:
    """[size, S/4]: low-resolution samples to original pixels, along one axis."""
    low_res = np.eye(geometry.image_size // 4)
    if geometry.direct_masks:
        return bilinear(low_res, size).astype(np.float32)
    without_padding = bilinear(low_res, geometry.image_size)[:resized_size]
    return bilinear(without_padding, size).astype(np.float32)


def bilinear(samples: Doubles, size: int) -> Doubles:
    """[N,K] -> [size,K]: torch's F.interpolate(mode="bilinear", align_corners=False), one axis."""
    centres = np.maximum((np.arange(size) + 0.5) * (len(samples) / size) - 0.5, 0)
    before = centres.astype(np.intp)
    after = np.minimum(before + 1, len(samples) - 1)
    weight = (centres - before)[:, None]
    stretched: Doubles = samples[before] * (1 - weight) + samples[after] * weight
    return stretched
