"""Prompts of a user: checked, and encoded as the decoder's input tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..bundle.spec import Family
from ..errors import PromptError
from ..preprocess import Doubles, Floats, Geometry, Pixels, Size, resampled

PADDING, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""SAM's point labels, the values of `point_labels`; the only definition in this project."""

# A drawn mask is either inside or outside. SAM's own logits saturate around this value.
_CONFIDENT_LOGIT = 10.0
_LARGEST_LOGIT = 32.0
"""Limit of the logits that SAM 2's official predictor returns, and so takes as a mask input."""
_CLIPPED_PX = 1.0
"""How far outside the picture a box or a point is still clipped to it: detectors round to there."""
_NORMALISED_PAST = 0.5
"""A box within 0 to 1 and this far past it is taken for a normalised one, as detectors emit them."""
_WHITES = (1, 255)
"""Largest numbers of an array that is a mask and no logits."""

Box = tuple[float, float, float, float]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object to segment. Coordinates are pixels of the original picture, (x, y) order.

    box: (x0, y0, x1, y1), top left and bottom right. points lie on the object, background_points
    beside it. mask_input: float32 logits [S/4, S/4], such as low_res_masks[i] of an earlier prediction.
    """

    box: Box | None = None
    points: Points = ()
    background_points: Points = ()
    mask_input: Floats | None = None


class PromptTensors(NamedTuple):
    """N prompts of up to P points as the decoder's inputs, in the frame of its S x S picture.

    point_coords: float32 [N,P,2], (x, y) in pixels of the input. point_labels: int32 [N,P], SAM's labels.
    mask_input: float32 [N,1,S/4,S/4], logits. has_mask_input: float32 [N], 1 where mask_input counts.
    """

    point_coords: npt.NDArray[Any]
    point_labels: npt.NDArray[Any]
    mask_input: npt.NDArray[Any]
    has_mask_input: npt.NDArray[Any]

    @classmethod
    def without_masks(
        cls, point_coords: npt.NDArray[Any], point_labels: npt.NDArray[Any], image_size: int
    ) -> PromptTensors:
        """Returns prompts without a mask, for an input of S = `image_size` pixels."""
        count, side = len(point_labels), image_size // 4
        masks = np.zeros((count, 1, side, side), np.float32)
        return cls(point_coords, point_labels, masks, np.zeros(count, np.float32))

    def feeds(self, encoded: Mapping[str, Any], enhanced: Any = None) -> dict[str, Any]:  # noqa: ANN401
        """Returns all inputs of the decoder by name.

        encoded: the encoder's outputs by name. enhanced: GLE's output, which replaces the embeddings; None:
        the model runs without GLE.
        """
        features = encoded if enhanced is None else {**encoded, "image_embeddings": enhanced}
        return {**features, **self._asdict()}


def one_or_several(single: Prompt, prompts: Sequence[Prompt] | None) -> Sequence[Prompt]:
    """Returns the prompts of a call of predict: `prompts`, or the `single` one of its other arguments.

    Raises PromptError where the caller passed both.
    """
    if prompts is None:
        return [single]
    points = len(single.points) + len(single.background_points)
    if single.box is not None or single.mask_input is not None or points > 0:
        raise PromptError("give either prompts=[...] or box, points and mask_input, not both")
    return prompts


def encode_prompts(prompts: Sequence[Prompt], geometry: Geometry, family: Family = "sam") -> PromptTensors:
    """Returns N prompts as the inputs of a `family`'s decoder.

    Prompts with fewer points than others are padded with label -1 at their end.
    Raises PromptError where a prompt is empty or does not fit the picture.
    """
    if not prompts:
        raise PromptError("no prompt: give a box, a point or a mask")
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise PromptError(
                f"prompts: expected Prompt, found {type(prompt).__name__}; write prompts=[Prompt(box=...)]"
            )
    pairs = [_coords_and_labels(prompt, geometry, family) for prompt in prompts]
    longest = max(len(labels) for _, labels in pairs)
    coords = np.zeros((len(pairs), longest, 2), np.float32)
    labels = np.full((len(pairs), longest), PADDING, np.int32)
    for row, (prompt_coords, prompt_labels) in enumerate(pairs):
        coords[row, : len(prompt_labels)] = prompt_coords
        labels[row, : len(prompt_labels)] = prompt_labels
    tensors = PromptTensors.without_masks(coords, labels, geometry.image_size)
    _write_masks(prompts, tensors)
    limit_logits(tensors, family)
    return tensors


def ends_with_padding(has_box: bool, family: Family) -> bool:
    """Returns whether a padding point follows a prompt's points: in SAM 2's official predictor always."""
    return not has_box or family == "sam2"


def limit_logits(tensors: PromptTensors, family: Family) -> None:
    """Limits the mask inputs as SAM 2's official predictor does; other families' stay as they are."""
    if family == "sam2":
        np.clip(tensors.mask_input, -_LARGEST_LOGIT, _LARGEST_LOGIT, out=tensors.mask_input)


def logits_from_mask(mask: Pixels | npt.NDArray[np.bool_], geometry: Geometry) -> Floats:
    """Returns mask_input logits, float32 [S/4, S/4], of a mask of the original picture's size.

    mask: uint8 [H,W], white (255) = object, or bool. Raises PromptError for anything else.
    """
    if mask.dtype == np.bool_:
        mask = np.uint8(255) * mask
    _check_mask(mask, geometry.original_size)
    resized = resampled(Image.fromarray(mask), geometry.resized_size, Image.Resampling.BILINEAR)
    frame = Image.new("L", (geometry.image_size, geometry.image_size))
    frame.paste(resized)
    coverage = np.asarray(frame.reduce(4), np.float32) / 255
    logits: Floats = (2 * coverage - 1) * np.float32(_CONFIDENT_LOGIT)
    return logits


def _check_mask(mask: Pixels | npt.NDArray[np.bool_], original_size: Size) -> None:
    """Raises PromptError for a mask that is not uint8 of the picture's size, or whose white is 1."""
    if mask.dtype != np.uint8 or mask.max(initial=0) == 1:
        values = "values of 0 and 1" if mask.dtype == np.uint8 else str(mask.dtype)
        raise PromptError(
            f"mask input: expected uint8, white (255) = object, or bool, found {values}; convert it"
        )
    if mask.shape != original_size:
        raise PromptError(
            f"mask input: expected {_size(original_size)} like the picture, "
            f"found {' x '.join(map(str, mask.shape[::-1]))}; draw it on the picture itself"
        )


def _coords_and_labels(prompt: Prompt, geometry: Geometry, family: Family) -> tuple[Floats, list[int]]:
    """Returns [P,2] in the input's frame and P labels, in SAM's order: points, box corners or padding."""
    coords, labels = _checked_points_and_box(prompt, geometry)
    if not ends_with_padding(prompt.box is not None, family):
        return coords, labels
    return np.concatenate([coords, np.zeros((1, 2), np.float32)]), [*labels, PADDING]


def _checked_points_and_box(prompt: Prompt, geometry: Geometry) -> tuple[Floats, list[int]]:
    points = _checked_points("point", prompt.points, geometry.original_size)
    background = _checked_points("background point", prompt.background_points, geometry.original_size)
    labels = [FOREGROUND] * len(points) + [BACKGROUND] * len(background)
    if prompt.box is None:
        if not labels and prompt.mask_input is None:
            raise PromptError("no prompt: give a box, a point or a mask")
        return geometry.to_input(np.concatenate([points, background])), labels
    corners = _checked_box(prompt.box, geometry.original_size)
    coords = geometry.to_input(np.concatenate([points, background, corners]))
    return coords, [*labels, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]


def _checked_points(kind: str, points: Points, original_size: Size) -> Doubles:
    """Returns points [K,2] inside the picture; those up to _CLIPPED_PX outside move to its border pixels."""
    coords = points_array(kind, points)
    height, width = original_size
    for x, y in coords.tolist():
        # Written so that NaN, which compares false with everything, is refused too.
        if not (-_CLIPPED_PX <= x <= width + _CLIPPED_PX and -_CLIPPED_PX <= y <= height + _CLIPPED_PX):
            raise PromptError(
                f"{kind} {x:g} {y:g}: expected 0 <= X < {width} and 0 <= Y < {height} in a "
                f"picture of {_size(original_size)}; give pixels as a viewer shows them"
            )
    inside = (coords >= 0) & (coords < [width, height])
    border: Doubles = np.where(inside, coords, np.clip(coords, 0, [width - 1, height - 1]))
    return border


def _checked_box(box: Box, original_size: Size) -> Doubles:
    """Returns the box's corners [2,2], clipped to the picture where they lie up to _CLIPPED_PX outside."""
    corners = box_array(box)
    height, width = original_size
    x0, y0, x1, y1 = corners.tolist()
    clipped = np.clip(corners, 0, [width, height, width, height])
    cx0, cy0, cx1, cy1 = clipped.tolist()
    if not (np.abs(corners - clipped).max() <= _CLIPPED_PX and cx0 < cx1 and cy0 < cy1):
        raise PromptError(
            f"box {x0:g} {y0:g} {x1:g} {y1:g}: expected 0 <= X0 < X1 <= {width} and "
            f"0 <= Y0 < Y1 <= {height} in a picture of {_size(original_size)}; "
            "give the top left corner, then the bottom right"
        )
    if min(x0, y0) >= -_NORMALISED_PAST and max(x1, y1) <= 1 + _NORMALISED_PAST < max(width, height):
        raise PromptError(
            f"box {x0:g} {y0:g} {x1:g} {y1:g}: expected pixels in a picture of {_size(original_size)}, "
            "found numbers from 0 to 1, as of a normalised box; multiply X by the width and Y by the height"
        )
    return clipped.reshape(2, 2)


def points_array(kind: str, points: Points) -> Doubles:
    """Returns points as [K,2]; `kind` is "point" or "background point".

    Raises PromptError where they are not rows of two numbers.
    """
    if len(points) == 0:
        return np.zeros((0, 2))
    coords = _numbers(f"{kind}s", points, "rows of two numbers (X, Y)")
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise PromptError(f"{kind}s: expected rows of two numbers (X, Y), found {coords.tolist()}")
    return coords


def box_array(box: Box) -> Doubles:
    """Returns a box as [4]. Raises PromptError where it is not four numbers."""
    corners = _numbers("box", box, "four numbers X0 Y0 X1 Y1")
    if corners.shape != (4,):
        raise PromptError(f"box: expected four numbers X0 Y0 X1 Y1, found {corners.tolist()}")
    return corners


def _numbers(name: str, values: object, expected: str) -> Doubles:
    """Returns `values` as float64. Raises PromptError where they are no numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: expected {expected}, found {values!r}") from error


def _write_masks(prompts: Sequence[Prompt], tensors: PromptTensors) -> None:
    """Writes the prompts' masks into `tensors`, where they have any."""
    side = tensors.mask_input.shape[-1]
    for row, prompt in enumerate(prompts):
        if prompt.mask_input is not None:
            tensors.mask_input[row, 0] = checked_logits(prompt.mask_input, side)
            tensors.has_mask_input[row] = 1


def checked_logits(mask_input: Floats, side: int) -> Doubles:
    """Returns logits [side,side]. Raises PromptError for a mask, another shape, NaN and infinity.

    Numbers that can only be a mask, 0 to 1 or to 255, would be logits of an object all over the picture.
    """
    dtype = getattr(mask_input, "dtype", None)
    if dtype == np.bool_:
        raise _mask_as_logits(side, "a bool mask")
    logits = _numbers("mask_input", mask_input, f"float32 logits [{side}, {side}]")
    if logits.shape != (side, side) or not np.isfinite(logits).all():
        content = list(logits.shape) if logits.shape != (side, side) else "NaN or infinite values"
        raise PromptError(
            f"mask_input: expected finite float32 logits [{side}, {side}], found {content}; "
            "give one of a prediction's low_res_masks"
        )
    if logits.min() >= 0 and logits.max() in _WHITES:
        raise _mask_as_logits(side, f"a mask of 0 to {logits.max():g}")
    if getattr(dtype, "kind", "f") == "u":
        raise _mask_as_logits(side, f"a mask of {dtype}")
    return logits


def _mask_as_logits(side: int, found: str) -> PromptError:
    return PromptError(
        f"mask_input: expected finite float32 logits [{side}, {side}], found {found}; "
        "logits_from_mask(mask, predictor.geometry) makes them"
    )


def _size(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"
