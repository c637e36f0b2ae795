"""Prompts as a user gives them, checked, and turned into the decoder's feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import PromptError
from .preprocess import Doubles, Floats, Geometry, Pixels, Size, resampled

PADDING, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""SAM's point labels."""

# A drawn mask says inside or outside, nothing finer. SAM's own logits saturate around here.
_SURE_LOGIT = 10.0

Box = tuple[float, float, float, float]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object to segment. Coordinates are pixels of the original picture, (x, y) order.

    box: (x0, y0, x1, y1), top left and bottom right; points lie on the object, background_points
    beside it; mask_input: float32 logits [S/4, S/4], the low_res_masks[i] of a former prediction.
    """

    box: Box | None = None
    points: Points = ()
    background_points: Points = ()
    mask_input: Floats | None = None


def asked_prompts(single: Prompt, prompts: Sequence[Prompt] | None) -> Sequence[Prompt]:
    """What predict was asked for: `prompts`, or the one in its other arguments.

    Raises PromptError where both were given.
    """
    if prompts is None:
        return [single]
    given = len(single.points) + len(single.background_points)
    if single.box is not None or single.mask_input is not None or given > 0:
        raise PromptError("give either prompts=[...] or box, points and mask_input, not both")
    return prompts


def encode_prompts(prompts: Sequence[Prompt], geometry: Geometry) -> dict[str, npt.NDArray[np.generic]]:
    """N prompts -> the decoder's point_coords, point_labels, mask_input and has_mask_input.

    Prompts shorter than their neighbours are padded with label -1 at their end.
    Raises PromptError where a prompt is empty or does not fit the picture.
    """
    if not prompts:
        raise PromptError("no prompt: give a box, a point or a mask")
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise PromptError(
                f"prompts: expected Prompt, found {type(prompt).__name__}; write prompts=[Prompt(box=...)]"
            )
    pairs = [_coords_and_labels(prompt, geometry) for prompt in prompts]
    longest = max(len(labels) for _, labels in pairs)
    coords = np.zeros((len(pairs), longest, 2), np.float32)
    labels = np.full((len(pairs), longest), PADDING, np.int32)
    for row, (prompt_coords, prompt_labels) in enumerate(pairs):
        coords[row, : len(prompt_labels)] = prompt_coords
        labels[row, : len(prompt_labels)] = prompt_labels
    return {"point_coords": coords, "point_labels": labels, **_mask_feeds(prompts, geometry)}


def logits_from_mask(mask: Pixels | npt.NDArray[np.bool_], geometry: Geometry) -> Floats:
    """A mask of the original picture's size -> mask_input logits float32 [S/4, S/4].

    mask: uint8 [H,W], white (255) = object, or bool. Raises PromptError for anything else.
    """
    if mask.dtype == np.bool_:
        mask = np.uint8(255) * mask
    if mask.dtype != np.uint8 or mask.max(initial=0) == 1:
        found = "values of 0 and 1" if mask.dtype == np.uint8 else str(mask.dtype)
        raise PromptError(
            f"mask input: expected uint8, white (255) = object, or bool, found {found}; convert it"
        )
    if mask.shape != geometry.original_size:
        raise PromptError(
            f"mask input: expected {_size(geometry.original_size)} like the picture, "
            f"found {' x '.join(map(str, mask.shape[::-1]))}; draw it on the picture itself"
        )
    resized = resampled(Image.fromarray(mask), geometry.resized_size, Image.Resampling.BILINEAR)
    frame = Image.new("L", (geometry.image_size, geometry.image_size))
    frame.paste(resized)
    share = np.asarray(frame.reduce(4), np.float32) / 255
    logits: Floats = (2 * share - 1) * np.float32(_SURE_LOGIT)
    return logits


def _coords_and_labels(prompt: Prompt, geometry: Geometry) -> tuple[Floats, list[int]]:
    """[P,2] in the input's frame and P labels, in SAM's order: points, box corners or padding."""
    points = _checked_points("point", prompt.points, geometry.original_size)
    background = _checked_points("background point", prompt.background_points, geometry.original_size)
    labels = [FOREGROUND] * len(points) + [BACKGROUND] * len(background)
    if prompt.box is None:
        if not labels and prompt.mask_input is None:
            raise PromptError("no prompt: give a box, a point or a mask")
        coords = geometry.to_input(np.concatenate([points, background]))
        return np.concatenate([coords, np.zeros((1, 2), np.float32)]), [*labels, PADDING]
    corners = _checked_box(prompt.box, geometry.original_size)
    coords = geometry.to_input(np.concatenate([points, background, corners]))
    return coords, [*labels, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]


def _checked_points(kind: str, points: Points, original_size: Size) -> Doubles:
    """[K,2]. Pixel (x, y) exists for 0 <= x < width and 0 <= y < height."""
    coords = points_array(kind, points)
    height, width = original_size
    for x, y in coords.tolist():
        # Written so that NaN, which compares false with everything, is refused too.
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(
                f"{kind} {x:g} {y:g}: expected 0 <= X < {width} and 0 <= Y < {height} in a "
                f"picture of {_size(original_size)}; give pixels as a viewer shows them"
            )
    return coords


def _checked_box(box: Box, original_size: Size) -> Doubles:
    """The box's corners [2,2]. Its edges may lie on the picture's."""
    corners = box_array(box)
    height, width = original_size
    x0, y0, x1, y1 = corners.tolist()
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PromptError(
            f"box {x0:g} {y0:g} {x1:g} {y1:g}: expected 0 <= X0 < X1 <= {width} and "
            f"0 <= Y0 < Y1 <= {height} in a picture of {_size(original_size)}; "
            "give the top left corner, then the bottom right"
        )
    return corners.reshape(2, 2)


def points_array(kind: str, points: Points) -> Doubles:
    """[K,2] for a "point" or "background point". Raises PromptError where they are no rows of two numbers."""
    if len(points) == 0:
        return np.zeros((0, 2))
    coords = _numbers(f"{kind}s", points, "rows of two numbers (X, Y)")
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise PromptError(f"{kind}s: expected rows of two numbers (X, Y), found {coords.tolist()}")
    return coords


def box_array(box: Box) -> Doubles:
    """[4]. Raises PromptError where it is not four numbers."""
    corners = _numbers("box", box, "four numbers X0 Y0 X1 Y1")
    if corners.shape != (4,):
        raise PromptError(f"box: expected four numbers X0 Y0 X1 Y1, found {corners.tolist()}")
    return corners


def _numbers(name: str, values: object, expected: str) -> Doubles:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: expected {expected}, found {values!r}") from error


def _mask_feeds(prompts: Sequence[Prompt], geometry: Geometry) -> dict[str, npt.NDArray[np.generic]]:
    feeds = no_masks(len(prompts), geometry.image_size)
    masks, present = feeds["mask_input"], feeds["has_mask_input"]
    for row, prompt in enumerate(prompts):
        if prompt.mask_input is not None:
            masks[row, 0] = checked_logits(prompt.mask_input, masks.shape[-1])
            present[row] = 1
    return feeds


def no_masks(count: int, image_size: int) -> dict[str, npt.NDArray[np.generic]]:
    """The decoder's mask_input and has_mask_input for `count` prompts without a mask."""
    side = image_size // 4
    return {
        "mask_input": np.zeros((count, 1, side, side), np.float32),
        "has_mask_input": np.zeros(count, np.float32),
    }


def checked_logits(mask_input: Floats, side: int) -> Doubles:
    """[side,side]. Raises PromptError for another shape, NaN and infinity, and for a mask that is none."""
    if getattr(mask_input, "dtype", None) == np.bool_:
        raise PromptError(
            f"mask_input: expected finite float32 logits [{side}, {side}], found a bool mask; "
            "logits_from_mask(mask, predictor.geometry) makes them"
        )
    logits = _numbers("mask_input", mask_input, f"float32 logits [{side}, {side}]")
    if logits.shape != (side, side) or not np.isfinite(logits).all():
        found = list(logits.shape) if logits.shape != (side, side) else "NaN or infinite values"
        raise PromptError(
            f"mask_input: expected finite float32 logits [{side}, {side}], found {found}; "
            "give one of a prediction's low_res_masks"
        )
    return logits


def _size(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"
