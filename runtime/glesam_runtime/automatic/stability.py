"""Computes a candidate's mask in the picture's pixels and its stability in one pass over the logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..postprocess import WindowLogits
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


def resize_and_rate(logits: WindowLogits, threshold: float, offset: float) -> tuple[WindowMask, float]:
    """Returns the mask where `logits` exceed `threshold`, and its stability_score.

    The window holds every logit above `threshold` - `offset`.
    stability_score, as SAM defines it: the number of logits > threshold + offset over the number of
    logits > threshold - offset, the IoU of a strict and of a generous mask; 0 where both are empty.
    """
    pixels = np.empty(logits.shape, bool)
    strict = generous = 0
    for block, values in logits.blocks():
        np.greater(values, threshold, out=pixels[block])
        strict += np.count_nonzero(values > threshold + offset)
        generous += np.count_nonzero(values > threshold - offset)
    return WindowMask(pixels, logits.top, logits.left), strict / generous if generous else 0.0
