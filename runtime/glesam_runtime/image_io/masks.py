"""Reads masks as a viewer shows them, and the numbers of label maps; what is neither is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError
from ..preprocess import Pixels
from .colours import numbers_of, separated, shown
from .files import decoded

HALF = 128
"""Least grey of 8 bits that is white."""
_NUMBER_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "F")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")
_LOSSY_NOISE = 16
"""Largest difference between greys, or between channels, that lossy compression makes of one level."""
_FEW_LEVELS = 8
_LEAST_AREA = 16
"""Least number of pixels inside an area of one grey that is a level of its own, not a soft edge."""
_LEAST_SHARE = 0.005
_CURE = (
    "if it is a label map, describe its set with kind label_maps (and ignored_labels), or save one object "
)
_CURE += "as 255 on 0"


def read_mask(path: str | os.PathLike[str]) -> Pixels:
    """Reads a black and white mask as uint8 [H,W], as a viewer shows it: white (from 128 on) = object.

    Palettes show their colours, deeper pixels are scaled, 0 and 1 become 0 and 255; transparent pixels are
    no object. Where all that is visible has one colour, the transparency is the mask.
    Raises ImageError as read_image does, and for label maps, void borders and colours.
    """
    return np.array(decoded(Path(path), lambda picture: Image.fromarray(_mask(picture))))


def read_numbers(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Reads the whole numbers [H,W] that a picture stores: bool, uint8, uint16 or int32, nothing scaled.

    A palette gives its indices; a colour picture with equal channels is grey, black where it is transparent.
    EXIF orientation is applied.
    Raises ImageError as read_image does, and for colours and floating-point pixels.
    """
    numbers = np.array(decoded(Path(path), grey_if_equal))
    if numbers.dtype == np.uint8 and numbers.ndim == 2:
        numbers //= _scale_of(path)
    if numbers.ndim != 2 or numbers.dtype.kind == "f":
        raise ImageError(
            f"{path}: expected a label map of whole numbers [H, W], "
            f"found {numbers.dtype} {list(numbers.shape)}"
        )
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _scale_of(path: str | os.PathLike[str]) -> int:
    """Returns the factor by which Pillow has multiplied greys of 2 or 4 bits, to fill 8; 1 for others."""
    with Image.open(path) as picture:  # its header
        raw_modes = re.findall(r"\bL;([24])", " ".join(str(tile) for tile in getattr(picture, "tile", ())))
    return {"2": 85, "4": 17}[raw_modes[0]] if raw_modes else 1


def _mask(picture: Image.Image) -> Pixels:
    """Returns the greys of a mask, 0 to 255; raises ImageError where they are no mask's."""
    lossy = picture.format in _LOSSY
    if picture.mode.startswith("I"):
        values = numbers_of(picture)
        full_scale = 0xFFFF if picture.mode != "I" or values.max() > 255 else 255
    else:
        values, full_scale = _greys(picture, lossy), 255
    highest = int(values.max())
    if highest <= 1:
        return (values * 255).astype(np.uint8)
    if values.min() < 0 or highest > full_scale or 2 * highest <= full_scale:
        raise ImageError(f"expected a black and white mask, found numbers up to {highest}; {_CURE}")
    if (level := _third_level(values, full_scale, lossy)) is not None:
        raise ImageError(f"expected a black and white mask, found areas of {level} and {highest}; {_CURE}")
    return ((values * 255 + full_scale // 2) // full_scale).astype(np.uint8)


def _greys(picture: Image.Image, lossy: bool) -> npt.NDArray[np.int64]:
    """Returns the greys that a viewer shows, or the transparency where that alone tells pixels apart."""
    colours, alpha = separated(picture)
    if alpha is not None and (covered := _mask_in_alpha(colours, alpha)) is not None:
        return covered
    channels = np.asarray(shown(_without_profile(picture), "black")).astype(np.int64)
    spread = int((channels.max(axis=-1) - channels.min(axis=-1)).max())
    if spread > (_LOSSY_NOISE if lossy else 0):
        raise ImageError(f"expected a black and white mask of whole numbers [H, W], found colours; {_CURE}")
    return channels[..., 1]


def _mask_in_alpha(colours: Image.Image, alpha: Image.Image) -> npt.NDArray[np.int64] | None:
    """Returns the alpha where all visible pixels have one colour; None where their colours differ."""
    opacity = np.asarray(alpha).astype(np.int64)
    if opacity.min() == opacity.max() == 255:
        return None
    if not opacity.any():
        raise ImageError("expected a black and white mask, found a picture that is transparent all over")
    visible = np.asarray(colours)[opacity > 0]
    return opacity if (visible == visible[0]).all() else None


def _without_profile(picture: Image.Image) -> Image.Image:
    """Returns the picture without gamma and profile, which say nothing about a mask."""
    plain = picture.copy()
    for key in ("gamma", "icc_profile"):
        plain.info.pop(key, None)
    return plain


def _third_level(values: npt.NDArray[np.int64], full_scale: int, lossy: bool) -> int | None:
    """Returns a grey between black and white that fills an area, as classes do and soft edges do not."""
    inside = values[1:-1, 1:-1]
    flat = np.ones(inside.shape, bool)
    for neighbour in (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]):
        flat &= inside == neighbour
    levels, areas = np.unique(inside[flat], return_counts=True)
    few = len(np.unique(values)) <= _FEW_LEVELS and not lossy
    margin = 0 if few else _LOSSY_NOISE * full_scale // 255
    least = _LEAST_AREA if few else max(_LEAST_AREA, int(_LEAST_SHARE * values.size))
    between = (levels > margin) & (levels < values.max() - margin) & (areas >= least)
    return int(levels[between][0]) if between.any() else None


def grey_if_equal(picture: Image.Image) -> Image.Image:
    """Returns a grey picture where the three channels are equal: masks are often saved as RGB or RGBA."""
    if picture.mode in _NUMBER_MODES:
        return picture.copy()  # the pixels are gone once the file is closed
    channels = np.asarray(flat := shown(_without_profile(picture), "black"))
    return flat.convert("L") if (channels == channels[..., :1]).all() else flat
