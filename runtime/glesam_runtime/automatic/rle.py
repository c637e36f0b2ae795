"""Converts masks to and from COCO run-length encoding (RLE), which JSON can carry."""

from __future__ import annotations

import warnings
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from .boxes import box_of


class Rle(TypedDict):
    """A mask in COCO's compressed RLE; `size` is [H, W]."""

    size: list[int]
    counts: str


def rle_from_mask(mask: npt.NDArray[np.bool_]) -> Rle:
    """Returns a mask, bool [H,W], in COCO RLE."""
    height, width = mask.shape
    if not mask.any():
        return rle_from_runs([height * width], (height, width))
    # pycocotools' own encoder wants the pixels by columns: turning 12 megapixels takes longer than all this.
    left, top, right, bottom = box_of(mask)
    return rle_from_window(mask[top:bottom, left:right], top, left, (height, width))


def rle_from_window(window: npt.NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> Rle:
    """Returns the COCO RLE of a mask of `size` (H, W), empty but for `window`, bool [h,w], at (top, left).

    The result equals rle_from_mask of the whole mask, which is never made.
    """
    return rle_from_runs(runs_of_window(window, top, left, size), size)


def rle_from_runs(runs: list[int], size: tuple[int, int]) -> Rle:
    """Returns the COCO RLE of a mask of `size` (H, W) whose uncompressed RLE is `runs`."""
    # 80 ms to import, and only JSON output needs it.
    from pycocotools import mask as coco_mask  # type: ignore[import-untyped]

    height, width = size
    counts = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii")}


def runs_of_window(window: npt.NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> list[int]:
    """Returns the lengths of a mask's runs, column by column, false first: COCO's uncompressed RLE.

    The mask is that of rle_from_window.
    """
    height, width = size
    changes = _changes(window, top, left, height)
    changes = changes[changes < height * width]  # a mask that is true to its very end has no last change
    runs: list[int] = np.diff(changes, prepend=0, append=height * width).tolist()
    return runs


def mask_from_rle(rle: Rle) -> npt.NDArray[np.bool_]:
    """Returns the mask, bool [H,W], of a COCO RLE."""
    from pycocotools import mask as coco_mask

    with warnings.catch_warnings():
        # pycocotools 2.0.11 has numpy 2 copy an array in a way that numpy 2 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        mask: npt.NDArray[np.bool_] = np.ascontiguousarray(coco_mask.decode(rle), np.bool_)
    return mask


def _changes(window: npt.NDArray[np.bool_], top: int, left: int, height: int) -> npt.NDArray[np.int64]:
    """Returns where the mask, read column by column as COCO does, changes between false and true."""
    outside = np.zeros((1, window.shape[1]), bool)
    padded = np.concatenate([outside, window, outside])
    # Searched in the window's own order, then sorted: reading by columns takes several times as long.
    row, column = np.nonzero(padded[1:] != padded[:-1])
    changes = np.sort((left + column) * height + top + row)
    # A run that reaches the picture's bottom continues at the next column's top: no change there.
    meets = np.flatnonzero(changes[1:] == changes[:-1])
    return np.delete(changes, np.concatenate([meets, meets + 1])).astype(np.int64, copy=False)
