"""Opens pictures: the formats of photographs, limits on the header, one error for every failure."""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import ImageError, first_line
from .colours import loaded
from .file_kinds import CURES, FORBIDDEN, not_a_file, stand_in
from .jpeg_scans import check_scans
from .netpbm_headers import check_header
from .orientation import upright
from .png_files import check_rows, without_long_texts

MAX_PIXELS = 178_956_970
"""Largest number of pixels of a picture, in both languages: Pillow's own limit."""
_PLUGINS = {
    "Jpeg": "JPEG",  # and MPO, whose first frame is a JPEG
    "Png": "PNG",
    "WebP": "WEBP",
    "Tiff": "TIFF",
    "Bmp": "BMP",
    "Gif": "GIF",
    "Ppm": "PPM",
    "Avif": "AVIF",
}
"""The formats that a photograph comes in, by Pillow's plugin; none of these starts a program."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""Start of an address as Path leaves it, with one slash."""
logging.getLogger("PIL").addHandler(
    logging.NullHandler()
)  # it logs what is wrong beside the one line of ours


def decoded(
    path: Path, convert: Callable[[Image.Image], Image.Image], most_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Returns the picture at `path` through `convert`, upright; every failure becomes an ImageError."""
    check_exists(path)
    try:
        with warnings.catch_warnings():
            # PIL warns about a bomb at 89 megapixels, which cameras reach; it refuses at 179.
            warnings.simplefilter("ignore")
            check_header(path)
            source = without_long_texts(path)
            with Image.open(source, formats=_formats()) as picture:
                _check_size(picture, most_pixels)
                check_scans(path)
                pixels = loaded(picture)
                check_rows(source, pixels)
                return upright(convert(pixels), picture.info.get("exif"))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except PermissionError as error:
        raise ImageError(f"{path}: expected a picture, found {FORBIDDEN}; {CURES[FORBIDDEN]}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {_too_large(_bomb_pixels(error), most_pixels)}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: expected a picture, found {_instead(path)}") from error
    except Exception as error:  # broken bytes make PIL's decoders raise nearly anything
        raise ImageError(
            f"{path}: cannot read the picture to its end ({first_line(error)}); copy it again"
        ) from error


def check_exists(path: Path, expected: str = "a picture") -> None:
    """Raises ImageError where there is no file at `path`, `expected` in words."""
    if instead := not_a_file(path):
        if instead == "a folder" and (found := _unreadable(path)):
            raise ImageError(f"{path}: expected a folder of pictures, found {found}")
        cure = CURES.get(instead, "save the picture to a file first")
        if instead == "nothing" and (scheme := _ADDRESS.match(str(path))):
            address = f"{scheme[1]}://{str(path)[scheme.end() :]}"
            raise ImageError(
                f"{address}: expected a path, found an address; nothing is read from a network, so save "
                "it to a file first"
            )
        raise ImageError(f"{path}: expected {expected}, found {instead}; {cure}")


def _unreadable(folder: Path) -> str | None:
    """Returns what is wrong with a folder whose names cannot be read, and what to do; None where they can."""
    try:
        os.scandir(folder).close()
    except PermissionError:
        return f"{FORBIDDEN}; {CURES[FORBIDDEN]}"
    except OSError as error:
        return f"one that cannot be read ({error.strerror}); leave it out"
    return None


def _check_size(picture: Image.Image, most_pixels: int) -> None:
    """Raises ImageError for more pixels than `most_pixels`, before any is decoded."""
    width, height = picture.size
    if width * height > most_pixels:
        raise ImageError(_too_large(width * height, most_pixels))


def _too_large(pixels: int, most_pixels: int) -> str:
    """Returns what is wrong with so many pixels; the two numbers are rounded away from each other."""
    most, found = math.floor(most_pixels / 1e5) / 10, math.ceil(pixels / 1e5) / 10
    return f"expected at most {most:g} megapixels, found {found:g}; make the picture smaller"


def _bomb_pixels(error: Image.DecompressionBombError) -> int:
    """Returns the number of pixels that Pillow's message names: it has read no more of the picture."""
    number = re.search(r"\d+", str(error))
    return int(number[0]) if number else MAX_PIXELS + 1


def _instead(path: Path) -> str:
    if os.path.getsize(path) == 0:
        return "an unknown format, for the file is empty; copy it again"
    return stand_in(path) or "an unknown format; give a JPEG, PNG or TIFF file"


@cache
def _formats() -> tuple[str, ...]:
    """Returns the names of the formats that this Pillow reads; plugins of others are not imported."""
    for plugin in _PLUGINS:
        try:
            import_module(f"PIL.{plugin}ImagePlugin")
        except ImportError:  # a Pillow older than the plugin, or built without its library
            continue
    return tuple(name for name in _PLUGINS.values() if name in Image.OPEN)
