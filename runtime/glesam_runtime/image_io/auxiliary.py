"""The auxiliary image of a second sensor (thermal, depth, near infrared) for a GLE that has that input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError
from ..preprocess import Floats, Geometry, Pixels, Size, resampled
from .colours import SIXTEEN_BITS, whole_numbers
from .files import decoded
from .masks import grey_if_equal

Auxiliary = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""An auxiliary image [H,W], aligned with the picture; 0 is where nothing is known."""


def read_auxiliary(path: str | os.PathLike[str]) -> Auxiliary:
    """Reads a grey picture of up to 16 bits; its white is the largest number of uint8 or uint16.

    Up to 8 bits become uint8, more become uint16. Raises ImageError as read_image does, and for colours,
    palettes, and pixels that are signed, fractions or have 32 bits.
    """
    return np.array(decoded(Path(path), _intensities))


def _intensities(picture: Image.Image) -> Image.Image:
    """Returns a grey picture of mode L or I;16, scaled to the full range; raises ImageError for others."""
    if picture.mode == "P":
        raise ImageError("expected a grey auxiliary image, found a palette; save it in grey")
    if picture.mode.startswith("I"):
        values, white = whole_numbers(picture)
        return Image.fromarray(((values * SIXTEEN_BITS + white // 2) // white).astype(np.uint16))
    grey = grey_if_equal(picture)
    if grey.mode not in ("1", "L"):
        found = "colours" if grey.mode == "RGB" else "floating-point pixels"
        raise ImageError(f"expected a grey auxiliary image of whole numbers, found {found}; convert it first")
    return grey.convert("L")


def check_auxiliary(auxiliary: object, size: Size) -> None:
    """Raises ImageError where an auxiliary image does not fit a picture of `size` (H, W)."""
    if not isinstance(auxiliary, np.ndarray):
        found = type(auxiliary).__name__
    elif auxiliary.dtype not in (np.uint8, np.uint16) or auxiliary.shape != size:
        found = f"{auxiliary.dtype} {list(auxiliary.shape)}"
    else:
        return
    raise ImageError(
        f"auxiliary image: expected uint8 or uint16 of the picture's size {list(size)}, found {found}; "
        "align and scale it first"
    )


def preprocess_auxiliary(image: Auxiliary, geometry: Geometry) -> Floats:
    """Returns GLE's auxiliary input float32 [1,1,S,S].

    Values become [0, 1] by the type's full range. The image is resized to where the picture lies, bilinearly,
    with zeros around it.
    """
    scaled = Image.fromarray(image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max))
    height, width = geometry.resized_size
    padded = np.zeros((1, 1, geometry.image_size, geometry.image_size), np.float32)
    resized = resampled(scaled, geometry.resized_size, Image.Resampling.BILINEAR)
    padded[0, 0, :height, :width] = np.asarray(resized)
    return padded


def brightness(picture: Pixels) -> Auxiliary:
    """The brightness of a picture, uint8 [H,W]: stands for an auxiliary image where parity is measured."""
    return np.asarray(Image.fromarray(picture).convert("L"))
