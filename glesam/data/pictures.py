"""Reading pictures and masks: what a viewer shows, and the numbers that a label map holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from glesam.data.masks import Mask
from glesam_runtime.errors import InputError

SIXTEEN_BITS = 65535
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB, turned as its EXIF orientation says; 16 bits are scaled to 8.

    Raises:
        InputError: not a picture that Pillow can read, or one without a white level.
        FileNotFoundError: no such file.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(_eight_bits(ImageOps.exif_transpose(image)).convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected a picture: {_one_line(error)}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips 16 bits at 255: nearly everything would be white."""
    if image.mode == "F":
        raise InputError("floating-point pixels have no white level; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > SIXTEEN_BITS:
        raise InputError("32-bit pixels have no white level; save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8))


def read_label_map(path: Path) -> NDArray[np.int64]:
    """int64 [H, W]. Maps of 16 and 32 bits and palettes are the numbers they hold, not colours."""
    labels = _read_numbers(path, "a label map")
    return labels.astype(np.int64)


def read_binary_mask(path: Path) -> Mask:
    """bool [H, W] of a mask whose white is the object: 255 (or 65535, or 1) on 0.

    Greys, as a JPEG or a smoothed edge has, are white from half of full scale on.
    """
    values = _read_numbers(path, "a black and white mask")
    highest = int(values.max())
    full_scale = SIXTEEN_BITS if values.dtype == np.uint16 else 255
    if 1 < highest < full_scale // 2:
        raise InputError(
            f"{path}: expected a black and white mask, found numbers up to {highest}; "
            f"if it is a label map, describe its set with kind label_maps"
        )
    mask: Mask = values > (0 if highest <= 1 else full_scale // 2)
    return mask


def _read_numbers(path: Path, expected: str) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            colours = image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "F")
            grey = image.convert("L") if colours and _is_grey(image) else image
            numbers = np.asarray(ImageOps.exif_transpose(grey))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected {expected}: {_one_line(error)}") from error
    if numbers.ndim != 2 or numbers.dtype.kind == "f":
        raise InputError(
            f"{path}: expected {expected} of whole numbers [H, W], "
            f"found {numbers.dtype} {list(numbers.shape)}"
        )
    return numbers


def _is_grey(image: Image.Image) -> bool:
    """Masks are often saved as RGB or RGBA with equal channels."""
    channels = np.asarray(image.convert("RGB"))
    return bool((channels == channels[..., :1]).all())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
