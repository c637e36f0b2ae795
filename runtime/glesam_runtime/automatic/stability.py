"""A candidate's mask in the picture's own pixels, and how stable it is, in one pass over its logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..postprocess import MaskResizer
from ..preprocess import Doubles, Floats


@dataclass(frozen=True, eq=False)
class WindowMask:
    """`pixels` bool [h,w] lie at (top, left) of the picture; everywhere else the mask is empty."""

    pixels: npt.NDArray[np.bool_]
    top: int
    left: int


def low_res_stability(low_res_masks: Floats, threshold: float, offset: float) -> Doubles:
    """float32 logits [..., h, w] without their padding -> stability_score [...] before they are resized.

    Cheap, and near: over 11,263 of nano's masks it differs from resize_and_rate's by .009 in the mean and
    .05 at most for masks of 5,000 pixels or more, .14 for smaller ones.
    """
    sure = np.count_nonzero(low_res_masks > threshold + offset, axis=(-2, -1))
    generous = np.count_nonzero(low_res_masks > threshold - offset, axis=(-2, -1))
    score: Doubles = sure / np.maximum(generous, 1)
    return score


def resize_and_rate(
    resizer: MaskResizer, low_res_mask: Floats, threshold: float, offset: float
) -> tuple[WindowMask, float]:
    """float32 logits [S/4, S/4] -> the mask where logits > threshold, and its stability_score.

    stability_score, as SAM defines it: pixels with logits > threshold + offset by pixels with
    logits > threshold - offset, the IoU of a sure and of a generous mask; 0 where both are empty.
    Only the window that the generous mask can reach is resized, which changes nothing.
    """
    rows, columns = resizer.window(low_res_mask, threshold - offset)
    pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start), bool)
    sure = generous = 0
    for block, logits in resizer.logits(low_res_mask, rows, columns):
        np.greater(logits, threshold, out=pixels[block])
        sure += np.count_nonzero(logits > threshold + offset)
        generous += np.count_nonzero(logits > threshold - offset)
    return WindowMask(pixels, rows.start, columns.start), sure / generous if generous else 0.0
