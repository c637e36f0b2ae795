"""Reads a user's folder of pictures as every runtime reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glesam_runtime import ImageError, read_image
from glesam_runtime.image_io import SUFFIXES, pictures_below
from glesam_runtime.preprocess import Pixels


def picture_paths(folder: Path, report: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Returns the pictures below `folder`, by path; masks beside them are named through `report`.

    Raises ImageError where there is no such folder.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder of pictures; check the path")
    found = pictures_below(folder)
    if line := found.left_out(folder):
        report(line)
    return found.to_read


def images_in(folder: Path, limit: int, report: Callable[[str], None]) -> dict[str, Pixels]:
    """Reads the first `limit` readable pictures below `folder`, by name: uint8 [H, W, 3] RGB.

    Pictures that cannot be read are named through `report` and skipped.

    Raises:
        ImageError: the folder is missing, or none of its pictures can be read.
    """
    pictures: dict[str, Pixels] = {}
    for path in picture_paths(folder, report):
        if len(pictures) == limit:
            break
        try:
            pictures[path.relative_to(folder).as_posix()] = read_image(path)
        except ImageError as error:
            report(f"skipped {error}")
    if not pictures:
        raise ImageError(
            f"{folder}: no readable picture ({', '.join(SUFFIXES)}); "
            "give a folder of photographs like those the model will see"
        )
    return pictures
