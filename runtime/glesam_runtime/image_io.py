"""Pictures and masks, read as a viewer shows them."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError, first_line
from .preprocess import Pixels


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """Open a picture as uint8 [H,W,3] RGB, as a viewer shows it.

    EXIF orientation is applied, 16 bits are scaled to 8, CMYK and palettes become RGB,
    transparency is laid on white, an animation shows its first frame.
    Raises ImageError for a missing, broken, oversized or floating-point picture.
    """
    return np.array(_open(Path(path)))


def read_mask(path: str | os.PathLike[str]) -> Pixels:
    """Open a mask picture as uint8 [H,W], white = object; what is transparent is none.

    Raises ImageError like read_image.
    """
    return np.array(_open(Path(path), ground="black").convert("L"))


def check_exists(path: Path) -> None:
    """Raise ImageError where there is no file at `path`."""
    if not os.path.isfile(path):  # unlike Path.is_file, false for a name that is too long
        found = "a folder" if os.path.isdir(path) else "nothing"
        raise ImageError(f"{path}: expected a picture, found {found}; check the path")


def png_bytes(picture: Image.Image) -> bytes:
    """A PNG file, lightly compressed: at PNG's default level a 12-megapixel overlay alone takes 2 s."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _open(path: Path, ground: str = "white") -> Image.Image:
    """An RGB picture, upright; `ground` is the colour behind what is transparent."""
    check_exists(path)
    try:
        with warnings.catch_warnings():
            # PIL warns about a bomb at 89 megapixels, which cameras reach; it refuses at 179.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return _as_rgb(ImageOps.exif_transpose(picture), ground)
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


def _as_rgb(picture: Image.Image, ground: str) -> Image.Image:
    if picture.mode.startswith("I"):
        return _eight_bits(picture).convert("RGB")
    if picture.mode == "F":
        raise ImageError("floating-point pixels have no white level; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, ground)
        return Image.alpha_composite(behind, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16 bits scaled to 8; PIL's own convert would clip everything above 255 to white."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("32-bit pixels have no white level; save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))
