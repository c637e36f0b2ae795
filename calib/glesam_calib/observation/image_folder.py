"""A user's folder of pictures, read as a runtime would read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glesam_runtime import ImageError, read_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def picture_paths(folder: Path) -> list[Path]:
    """Files that are called like pictures, by name. Raises ImageError where there is no such folder."""
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder of pictures; check the path")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def images_in(folder: Path, limit: int, report: Callable[[str], None]) -> dict[str, NDArray[np.uint8]]:
    """The first `limit` readable pictures of `folder`, by name: uint8 [H, W, 3] RGB.

    Pictures that cannot be read are named through `report` and skipped.

    Raises:
        ImageError: the folder is missing, or none of its pictures can be read.
    """
    found: dict[str, NDArray[np.uint8]] = {}
    for path in picture_paths(folder):
        if len(found) == limit:
            break
        try:
            found[path.name] = read_image(path)
        except ImageError as error:
            report(f"skipped {error}")
    if not found:
        raise ImageError(
            f"{folder}: no readable picture ({', '.join(sorted(SUFFIXES))}); "
            "give a folder of photographs like those the model will see"
        )
    return found
