"""From low-resolution logits back to masks of the original picture.

SAM resizes twice: S/4 -> S, cut the padding away, -> the original size. Both steps are bilinear,
so linear along each axis, and compose into one small matrix per axis:

    logits = rows @ low_res_mask @ columns.T        rows [H, S/4], columns [W, S/4]
"""

from __future__ import annotations

from collections.abc import Iterator
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
        for index in np.ndindex(*low_res_masks.shape[:-2]):
            for block, logits in self.logits(low_res_masks[index], slice(height), slice(width)):
                np.greater(logits, threshold, out=masks[index][block])
        return masks

    def logits(self, low_res_mask: Floats, rows: slice, columns: slice) -> Iterator[tuple[slice, Floats]]:
        """The picture's logits in a window of it, some rows at a time: (rows of the window, float32)."""
        window = self.rows[rows]
        stretched = low_res_mask @ self.columns[columns].T
        step = max(1, _BLOCK_PIXELS // max(1, stretched.shape[1]))
        for top in range(0, len(window), step):
            block = slice(top, top + step)
            yield block, window[block] @ stretched

    def window(self, low_res_mask: Floats, threshold: float) -> tuple[slice, slice]:
        """Rows and columns of the picture outside which no logit exceeds `threshold`.

        Exact: resizing averages, so a logit never exceeds every sample it is made from.
        """
        above = low_res_mask > threshold
        return _span(self.rows, np.any(above, axis=1)), _span(self.columns, np.any(above, axis=0))


def _span(axis: Floats, samples: npt.NDArray[np.bool_]) -> slice:
    """Where along the picture's axis any of `samples` [S/4] has a share."""
    touched = np.flatnonzero(axis @ samples.astype(np.float32))
    return slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 0)


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
