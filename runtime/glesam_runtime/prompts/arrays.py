"""Prompts as other libraries' arrays: a detector's `boxes`, SAM's `point_coords` and `point_labels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import PromptError
from .encoding import BACKGROUND, FOREGROUND, PADDING, Box, Points, Prompt, one_or_several

Split = tuple[Points, Points]
"""Points on an object, and points beside it."""
_LABELS = {FOREGROUND: "on the object", BACKGROUND: "beside it", PADDING: "no point"}


def gathered_prompts(
    single: Prompt,
    prompts: Sequence[Prompt] | None,
    boxes: Any,  # noqa: ANN401
    point_coords: Any,  # noqa: ANN401
    point_labels: Any,  # noqa: ANN401
) -> Sequence[Prompt]:
    """Returns the prompts of one call of predict, from whichever of its arguments the caller gave.

    boxes: [N,4], one prompt each. point_coords: [P,2] or [N,P,2], with point_labels of the same shape but
    for the 2. Points of [P,2] belong to the `single` prompt; others are N prompts, with or without a box.
    Raises PromptError where arguments exclude each other or do not fit together.
    """
    if boxes is None and point_coords is None and point_labels is None:
        return one_or_several(single, prompts)
    if prompts is not None or len(single.points) + len(single.background_points) > 0:
        raise PromptError(
            "give objects in one way: as prompts=[...], as points and background_points, "
            "or as boxes, point_coords and point_labels"
        )
    points = _split_points(point_coords, point_labels)
    rows = None if boxes is None else _rows("boxes", boxes, ("N", 4), "rows of four numbers X0 Y0 X1 Y1")
    if rows is None and isinstance(points, tuple):
        return [replace(single, points=points[0], background_points=points[1])]
    if single.box is not None or single.mask_input is not None:
        raise PromptError("box and mask_input belong to one object; several are boxes=[N,4] or prompts=[...]")
    return _paired(rows, [points] if isinstance(points, tuple) else points)


def _paired(boxes: npt.NDArray[np.float64] | None, points: list[Split] | None) -> list[Prompt]:
    """Returns one prompt for each of `boxes` [N,4], each of N sets of points, or each pair of them."""
    corners: list[Box | None]
    if boxes is None:
        corners = [None] * len(points or ())
    else:
        corners = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
    sets = points if points is not None else [((), ())] * len(corners)
    if not corners:
        raise PromptError("no prompt: boxes or point_coords has no rows; skip this image")
    if len(sets) != len(corners):
        raise PromptError(
            f"expected points for each of {len(corners)} boxes, found {len(sets)} sets; "
            "give point_coords as [N,P,2] and point_labels as [N,P]"
        )
    return [Prompt(box, on, beside) for box, (on, beside) in zip(corners, sets, strict=True)]


def _split_points(point_coords: Any, point_labels: Any) -> Split | list[Split] | None:  # noqa: ANN401
    """Returns the points by their labels: of one object for [P,2], a list for [N,P,2], None without any."""
    if point_coords is None and point_labels is None:
        return None
    if point_coords is None or point_labels is None:
        raise PromptError("point_coords and point_labels belong together: give one label for each point")
    shape = ("N", "P", 2) if np.ndim(point_coords) == 3 else ("P", 2)
    coords = _rows("point_coords", point_coords, shape, "rows of two numbers X Y")
    labels = _rows("point_labels", point_labels, shape[:-1], "one label for each point")
    if labels.shape != coords.shape[:-1]:
        raise PromptError(
            f"point_labels: expected {list(coords.shape[:-1])}, one for each point, "
            f"found {list(labels.shape)}"
        )
    unknown = set(np.unique(labels).tolist()) - set(_LABELS)
    if unknown:
        known = ", ".join(f"{label} ({meaning})" for label, meaning in _LABELS.items())
        raise PromptError(f"point_labels: expected {known}, found {min(unknown):g}; a box goes into boxes=")
    if coords.ndim == 2:
        return _by_label(coords, labels)
    return [_by_label(*each) for each in zip(coords, labels, strict=True)]


def _by_label(coords: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> Split:
    """Returns one object's points [P,2] on it and beside it, in their order."""
    on, beside = (coords[labels == label].tolist() for label in (FOREGROUND, BACKGROUND))
    return [(x, y) for x, y in on], [(x, y) for x, y in beside]


def _rows(name: str, values: Any, shape: Sequence[int | str], expected: str) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Returns `values` as float64 of `shape`, in which a name stands for any size; an empty list fits too."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: expected {expected}, found {values!r}") from error
    if array.size == 0 and array.ndim <= len(shape):
        return array.reshape([0 if isinstance(size, str) else size for size in shape])
    fits = array.ndim == len(shape) and all(
        isinstance(size, str) or size == actual for size, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ",".join(map(str, shape))
        raise PromptError(f"{name}: expected [{wanted}], {expected}, found {list(array.shape)}")
    return array
