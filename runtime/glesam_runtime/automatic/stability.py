"""Computes a candidate's mask in the picture's pixels and its stability in one pass over the logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..postprocess import MaskResizer
from ..preprocess import Doubles, Floats


@dataclass(frozen=True, eq=False)
class WindowMask:
    """A mask that is empty but for `pixels`, bool [h,w], at (top, left) of the picture."""

    pixels: npt.NDArray[np.bool_]
    top: int
    left: int


def low_res_stability(low_res_masks: Floats, threshold: float, offset: float) -> Doubles:
    """Returns stability_score [...] of float32 logits [..., h, w] that have no padding and are not resized.

    A cheap estimate: over 11,263 of nano's masks it differs from resize_and_rate's score by .009 on average,
    at most by .05 for masks of 5,000 pixels or more and by .14 for smaller ones.
    """
    strict = np.count_nonzero(low_res_masks > threshold + offset, axis=(-2, -1))
    generous = np.count_nonzero(low_res_masks > threshold - offset, axis=(-2, -1))
    score: Doubles = strict / np.maximum(generous, 1)
    return score


def resize_and_rate(
    resizer: MaskResizer, low_res_mask: Floats, threshold: float, offset: float
) -> tuple[WindowMask, float]:
    """Returns the mask where float32 logits [S/4, S/4] exceed `threshold`, and its stability_score.

    stability_score, as SAM defines it: the number of logits > threshold + offset over the number of
    logits > threshold - offset, the IoU of a strict and of a generous mask; 0 where both are empty.
    Only the window that the generous mask can reach is resized, which leaves the result the same.
    """
    rows, columns = resizer.window(low_res_mask, threshold - offset)
    pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start), bool)
    strict = generous = 0
    for block, logits in resizer.logits(low_res_mask, rows, columns):
        np.greater(logits, threshold, out=pixels[block])
        strict += np.count_nonzero(logits > threshold + offset)
        generous += np.count_nonzero(logits > threshold - offset)
    return WindowMask(pixels, rows.start, columns.start), strict / generous if generous else 0.0
