"""What is evaluated: anything that turns a picture and prompts into masks; and two baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.evaluation.metrics import Mask
from glesam.evaluation.prompts import Box, ObjectPrompt
from glesam.evaluation.score import RowName
from glesam_runtime.errors import InputError

Image = NDArray[np.uint8]

GRABCUT_ITERATIONS = 5
"""Iterations, as in OpenCV's own tutorial."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Three multimask outputs for each prompt: masks bool [N,3,H,W]; iou_predictions float32 [N,3]."""

    masks: NDArray[np.bool_]
    iou_predictions: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks bool [N,H,W] in the prompts' order; `fallbacks` of them are not the method's own work.

    `candidates` for the same prompts; None: the method has no multimask.
    """

    masks: NDArray[np.bool_]
    fallbacks: int = 0
    candidates: Candidates | None = None


class Method(Protocol):
    """A segmenter that several threads may call at once.

    It may raise GlesamError, ValueError or OSError for a picture that it cannot segment.
    """

    @property
    def row(self) -> RowName:
        """Its row in the table."""

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        """Segments uint8 [H,W,3] RGB by at least one prompt: one mask each."""


class FilledBox:
    """The whole box as the mask: what a segmenter that understands nothing reaches."""

    row = RowName("", "box")

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        return Segmentation(np.stack([fill(image, box_of(prompt)) for prompt in prompts]))


class GrabCut:
    """OpenCV's GrabCut from the same box, used as documented: no training, colour alone.

    Where it fails, or finds no foreground, the filled box stands in and is counted.
    """

    row = RowName("", "grabcut")

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        cuts = [grabcut(image, box_of(prompt)) for prompt in prompts]
        pairs = zip(cuts, prompts, strict=True)
        masks = [fill(image, box_of(prompt)) if mask is None else mask for mask, prompt in pairs]
        return Segmentation(np.stack(masks), sum(mask is None for mask in cuts))


BASELINES: dict[str, type[FilledBox] | type[GrabCut]] = {"box": FilledBox, "grabcut": GrabCut}
"""Baselines by name. Both need box prompts."""


def fill(image: Image, box: Box) -> Mask:
    """A mask of all pixels within `box`, clipped to the picture."""
    x0, y0, x1, y1 = box
    mask = np.zeros(image.shape[:2], bool)
    mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


def grabcut(image: Image, box: Box) -> Mask | None:
    """Runs GC_INIT_WITH_RECT on the box, clipped to the picture.

    Returns None where it fails, as for a box of the whole picture. OpenCV starts its colour clusters from a
    random generator of the thread. It is set to the same state before each call, so that the same box gives
    the same mask whatever ran before.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    labels = np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    try:
        rectangle = (x0, y0, x1 - x0, y1 - y0)
        cv2.grabCut(image, labels, rectangle, *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # no pixel outside the box, or too few inside
        return None
    mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return mask if mask.any() else None


def box_of(prompt: ObjectPrompt) -> Box:
    """The prompt's box. Raises InputError where it has none."""
    if prompt.box is None:
        raise InputError("grabcut and box need box prompts; leave them out of --methods, or use --prompt box")
    return prompt.box
