"""Masks as COCO run-length encoding, which JSON can carry."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt


class Rle(TypedDict):
    """COCO's compressed RLE; `size` is [H, W]."""

    size: list[int]
    counts: str


def rle_from_mask(mask: npt.NDArray[np.bool_]) -> Rle:
    """bool [H,W] -> COCO RLE with `counts` as text."""
    # 80 ms to import, and only JSON output needs it.
    from pycocotools import mask as coco_mask  # type: ignore[import-untyped]

    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    height, width = mask.shape
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}
