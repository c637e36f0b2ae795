"""The auxiliary image of a second sensor (thermal, depth, near infrared) for a GLE that has that input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError
from ..preprocess import Floats, Geometry, Pixels, Size, resampled
from .masks import read_numbers

Auxiliary = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""An auxiliary image [H,W], aligned with the picture; 0 is where nothing is known."""


def read_auxiliary(path: str | os.PathLike[str]) -> Auxiliary:
    """Reads a grey picture of 8 or 16 bits, as it is stored. Raises ImageError for any other."""
    numbers = read_numbers(path, "a grey auxiliary image")
    if numbers.dtype == np.bool_:
        numbers = np.where(numbers, np.uint8(255), np.uint8(0))
    if numbers.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{Path(path)}: expected 8 or 16 bits a pixel, found {numbers.dtype}; scale it first"
        )
    grey: Auxiliary = numbers
    return grey


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
