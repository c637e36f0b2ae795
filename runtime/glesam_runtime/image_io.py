"""The one reader of pictures and masks, for running, calibrating, degrading, training and evaluating."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError, first_line
from .preprocess import Pixels

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings, in lower case, of the files that count as pictures when a folder is searched."""
SIXTEEN_BITS = 0xFFFF
"""White in a picture of 16 bits."""
_NUMBER_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "F")


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """Reads a picture as uint8 [H,W,3] RGB, as a viewer shows it.

    EXIF orientation is applied, 16 bits are scaled to 8, CMYK and palettes become RGB,
    transparent pixels lie on white, an animation shows its first frame.
    Raises ImageError for a missing, broken, oversized or floating-point picture.
    """
    return np.array(_decoded(Path(path), lambda picture: _rgb(picture, "white")))


def read_mask(path: str | os.PathLike[str]) -> Pixels:
    """Reads a mask as uint8 [H,W], white = object; transparent pixels are no object.

    Raises ImageError as read_image does.
    """
    return np.array(_decoded(Path(path), lambda picture: _rgb(picture, "black").convert("L")))


def read_numbers(path: str | os.PathLike[str], expected: str = "a label map") -> npt.NDArray[Any]:
    """Reads the whole numbers [H,W] that a picture stores: bool, uint8, uint16 or int32, nothing scaled.

    A palette gives its indices; a colour picture with equal channels is grey, black where it is transparent.
    EXIF orientation is applied. `expected` names the kind of picture in error messages.
    Raises ImageError as read_image does, and for colours and floating-point pixels.
    """
    numbers = np.array(_decoded(Path(path), _grey_if_equal))
    if numbers.ndim != 2 or numbers.dtype.kind == "f":
        raise ImageError(
            f"{path}: expected {expected} of whole numbers [H, W], "
            f"found {numbers.dtype} {list(numbers.shape)}"
        )
    return numbers


def check_exists(path: Path) -> None:
    """Raises ImageError where there is no file at `path`."""
    if not os.path.isfile(path):  # unlike Path.is_file, false for a name that is too long
        instead = "a folder" if os.path.isdir(path) else "nothing"
        raise ImageError(f"{path}: expected a picture, found {instead}; check the path")


def png_bytes(picture: Image.Image) -> bytes:
    """Returns a PNG file, lightly compressed: at PNG's default level a 12-megapixel overlay takes 2 s."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _decoded(path: Path, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Returns the upright picture at `path` through `convert`; every failure becomes an ImageError."""
    check_exists(path)
    try:
        with warnings.catch_warnings():
            # PIL warns about a bomb at 89 megapixels, which cameras reach; it refuses at 179.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return convert(ImageOps.exif_transpose(picture))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {first_line(error)}; make the picture smaller") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: expected a picture, found an unknown format; give a JPEG, PNG or TIFF file"
        ) from error
    except Exception as error:  # broken bytes make PIL's decoders raise nearly anything
        raise ImageError(
            f"{path}: cannot read the picture to its end ({first_line(error)}); copy it again"
        ) from error


def _rgb(picture: Image.Image, ground: str) -> Image.Image:
    """Returns `picture` in RGB with `ground`, a colour, behind what is transparent."""
    if picture.mode.startswith("I"):
        return _eight_bits(picture).convert("RGB")
    if picture.mode == "F":
        raise ImageError("floating-point pixels have no white level; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, ground)
        return Image.alpha_composite(behind, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Returns 16 bits scaled to 8; PIL's own convert would clip everything above 255 to white."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > SIXTEEN_BITS:
        raise ImageError("32-bit pixels have no white level; save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8))


def _grey_if_equal(picture: Image.Image) -> Image.Image:
    """Returns a grey picture where the three channels are equal: masks are often saved as RGB or RGBA."""
    if picture.mode in _NUMBER_MODES:
        return picture.copy()  # loads the pixels, which are gone once the file is closed
    channels = np.asarray(flat := _rgb(picture, "black"))
    return flat.convert("L") if (channels == channels[..., :1]).all() else flat
