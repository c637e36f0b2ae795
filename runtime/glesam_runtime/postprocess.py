"""Resizes low-resolution logits to masks of the original picture.

SAM resizes twice, from S/4 to S and, after cutting the padding away, to the original size. Both steps are
bilinear, so along each axis they combine to a weighted sum of three neighbours:

    logit = s[i] w[0] + s[i + 1] w[1] + s[i + 2] w[2]

first the columns, then the rows. The C++ library sums in the same order and rounds each product and each sum
to float32, so that both give the same masks to the bit; a matrix product's rounding depends on its library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .preprocess import Doubles, Floats, Geometry

_BLOCK_PIXELS = 1 << 16  # 256 KiB of float32 logits at a time, which fit into a core's cache
_TAPS = 3
_ROUNDING = 1e-6  # relative, of three weights' sum


@dataclass(frozen=True)
class MaskAxis:
    """N pixels along one axis, each a weighted sum of `_TAPS` neighbouring low-resolution samples.

    first: intp [N], the first sample of each pixel. weights: float32 [N, 3].
    """

    first: npt.NDArray[np.intp]
    weights: Floats

    @classmethod
    def from_matrix(cls, matrix: Doubles) -> MaskAxis:
        """Returns the axis of float64 [N,K], whose rows have at most three neighbours that are not 0."""
        first = np.minimum(np.argmax(matrix != 0, axis=1), matrix.shape[1] - _TAPS)
        taps = first[:, None] + np.arange(_TAPS)
        return cls(first, np.take_along_axis(matrix, taps, axis=1).astype(np.float32))

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, pixels: slice) -> MaskAxis:
        return MaskAxis(self.first[pixels], self.weights[pixels])

    def samples(self) -> slice:
        """Returns the span of the samples that the pixels are sums of."""
        return slice(int(self.first[0]), int(self.first[-1]) + _TAPS) if len(self.first) else slice(0, 0)

    def shifted(self, start: int) -> MaskAxis:
        """Returns the same axis over samples that begin at `start`."""
        return MaskAxis(self.first - start, self.weights)

    def resize(self, samples: Floats) -> Floats:
        """Returns `samples`, float32 [K,M], resized to [N,M]."""
        # No index needs clipping, but mode "clip" saves numpy a copy of `out`.
        total = samples.take(self.first, axis=0, mode="clip")
        total *= self.weights[:, :1]
        part = np.empty_like(total)
        for tap in range(1, _TAPS):
            samples.take(self.first + tap, axis=0, out=part, mode="clip")
            part *= self.weights[:, tap : tap + 1]
            total += part
        return total


@dataclass(frozen=True, eq=False)
class WindowLogits:
    """Logits of a window [h,w] at (top, left) of the picture, as the samples that it is resized from.

    samples: float32 [k,l], at low resolution. rows, columns: how the window's pixels are sums of them.
    """

    samples: Floats
    rows: MaskAxis
    columns: MaskAxis
    top: int
    left: int

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of the window, (h, w)."""
        return len(self.rows), len(self.columns)

    def part(self, rows: slice, columns: slice) -> WindowLogits:
        """Returns the logits of a part of the window."""
        top, bottom, _ = rows.indices(len(self.rows))
        left, right, _ = columns.indices(len(self.columns))
        row_axis, column_axis = self.rows[top:bottom], self.columns[left:right]
        used_rows, used_columns = row_axis.samples(), column_axis.samples()
        return WindowLogits(
            self.samples[used_rows, used_columns],
            row_axis.shifted(used_rows.start),
            column_axis.shifted(used_columns.start),
            self.top + top,
            self.left + left,
        )

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yields the resized logits, float32, by blocks of rows of the window."""
        height, width = self.shape
        stretched = np.ascontiguousarray(self.columns.resize(self.samples.T).T)
        step = max(1, _BLOCK_PIXELS // max(1, width))
        for top in range(0, height, step):
            block = slice(top, top + step)
            yield block, self.rows[block].resize(stretched)

    def mask(self, threshold: float, out: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
        """Returns bool [h,w], true where logits exceed `threshold`; written to `out` where it is given."""
        mask = np.empty(self.shape, bool) if out is None else out
        for block, logits in self.blocks():
            np.greater(logits, threshold, out=mask[block])
        return mask


@dataclass(frozen=True)
class MaskResizer:
    """Resizes low-resolution masks to one picture; set_image makes it once for all prompts."""

    rows: MaskAxis
    columns: MaskAxis

    @classmethod
    def for_geometry(cls, geometry: Geometry) -> MaskResizer:
        """Returns the resizer that undoes `geometry`."""
        height, width = geometry.original_size
        resized_height, resized_width = geometry.resized_size
        return cls(_axis(height, resized_height, geometry), _axis(width, resized_width, geometry))

    def masks(self, low_res_masks: Floats, threshold: float) -> npt.NDArray[np.bool_]:
        """Returns bool [..., H, W], true where resized float32 logits [..., S/4, S/4] exceed `threshold`."""
        height, width = len(self.rows), len(self.columns)
        masks = np.empty((*low_res_masks.shape[:-2], height, width), bool)
        for index in np.ndindex(*low_res_masks.shape[:-2]):
            self.logits(low_res_masks[index]).mask(threshold, out=masks[index])
        return masks

    def logits(self, low_res_mask: Floats) -> WindowLogits:
        """Returns the logits [S/4,S/4] for all of the picture, not resized yet."""
        return WindowLogits(low_res_mask, self.rows, self.columns, 0, 0)

    def window(self, low_res_mask: Floats, threshold: float) -> WindowLogits:
        """Returns the logits of the window outside which none exceeds `threshold`.

        Resizing averages, so a logit exceeds its samples only by rounding.
        """
        above = low_res_mask > threshold - _ROUNDING * abs(threshold)
        rows, columns = _span(self.rows, np.any(above, axis=1)), _span(self.columns, np.any(above, axis=0))
        return self.logits(low_res_mask).part(rows, columns)


def _span(axis: MaskAxis, samples: npt.NDArray[np.bool_]) -> slice:
    """Returns the span of the picture's axis that any true one of `samples` [S/4] contributes to."""
    touched = np.flatnonzero(axis.resize(samples.astype(np.float32)[:, None]))
    return slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 0)


def _axis(size: int, resized_size: int, geometry: Geometry) -> MaskAxis:
    """Returns the axis from low-resolution samples to `size` original pixels."""
    low_res = np.eye(geometry.image_size // 4)
    if geometry.direct_masks:
        return MaskAxis.from_matrix(bilinear(low_res, size))
    without_padding = bilinear(low_res, geometry.image_size)[:resized_size]
    return MaskAxis.from_matrix(bilinear(without_padding, size))


def bilinear(samples: Doubles, size: int) -> Doubles:
    """Returns `samples` [N,K] resized to [size,K] as by torch's bilinear F.interpolate along one axis."""
    centres = np.maximum((np.arange(size) + 0.5) * (len(samples) / size) - 0.5, 0)
    before = centres.astype(np.intp)
    after = np.minimum(before + 1, len(samples) - 1)
    weight = (centres - before)[:, None]
    stretched: Doubles = samples[before] * (1 - weight) + samples[after] * weight
    return stretched
