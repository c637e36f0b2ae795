"""Clips whose object is known in every frame: an ellipse that moves, and a pan over a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from glesam_calib.photographs import SHIPPED
from glesam_runtime import Follower, Predictor, Prompt, read_image
from glesam_runtime.preprocess import Pixels

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clip:
    """Frames of one size, the object's mask in each, and the prompt for the first."""

    frames: Sequence[Pixels]
    masks: Sequence[np.ndarray]
    box: Box


def moving_object(frames: int, visible: int) -> Clip:
    """A striped ellipse crosses a photograph by a fifth of its width a frame; it is gone after `visible`."""
    background = read_image(SHIPPED / "astronaut.jpg")[:240, :320]
    y, x = np.mgrid[:240, :320]
    pictures, masks = [], []
    for index in range(frames):
        inside = ((x - 70 - 14 * index) / 34) ** 2 + ((y - 90 - 5 * index) / 26) ** 2 < 1
        inside &= index < visible
        picture = background.copy()
        picture[inside] = (220, 60, 40)
        picture[inside & (x % 8 < 3)] = (240, 200, 60)
        pictures.append(picture)
        masks.append(inside)
    return Clip(pictures, masks, (36, 64, 105, 117))


def pan(name: str, box: Box, size: tuple[int, int], step: tuple[int, int], zoom: float, frames: int) -> Clip:
    """Windows of a photograph, moved by `step` pixels and zoomed by `zoom` a frame, as `size` (W, H).

    The true mask is the one that nano gives for `box` in the whole photograph, cut as the frames are.
    """
    photo = read_image(SHIPPED / name)
    with Predictor("nano") as predictor:
        predictor.set_image(photo)
        whole = Image.fromarray(predictor.predict(box=box).masks[0]).convert("L")
    pictures, masks, windows = [], [], []
    for index in range(frames):
        width, height = (side / zoom**index for side in size)
        left, top = 20 + step[0] * index, 10 + step[1] * index
        window = (left, top, left + width, top + height)
        windows.append(window)
        cut = (size, Image.Resampling.BILINEAR, window)
        pictures.append(np.array(Image.fromarray(photo).resize(*cut)))
        masks.append(np.array(whole.resize(*cut)) > 127)
    x0, y0, x1, y1 = box
    left, top, *_ = windows[0]
    first = np.clip([x0 - left, y0 - top, x1 - left, y1 - top], 0, [*size, *size]).tolist()
    return Clip(pictures, masks, (first[0], first[1], first[2], first[3]))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def followed(clip: Clip, predictor: Predictor) -> list[tuple[float, str | None]]:
    """Returns of each frame the IoU with the true mask, and why the object is lost."""
    follower = Follower(predictor, [Prompt(clip.box)])
    answers = [follower.next(frame) for frame in clip.frames]
    return [
        (round(iou(answer.masks[0], mask), 3), answer.lost[0])
        for answer, mask in zip(answers, clip.masks, strict=True)
    ]
