"""The pictures that paths on a command line mean: themselves, or those below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import ImageError
from ...image_io import check_exists, pictures_below, written_to
from ..follow.frames import VIDEO_SUFFIXES


def pictures_in(paths: Sequence[Path], out: Path, note: Callable[[str], None]) -> list[Path]:
    """Returns the pictures of `paths`, a folder's in the order of their paths, without those in `out`.

    `note` takes a line that names the masks in a folder which are left out. Raises ImageError for a path
    where there is nothing, and for a folder without a picture.
    """
    pictures: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # unlike Path.is_dir, false for a name that is too long
            found = pictures_below(path)
            if not found.to_read:
                raise ImageError(f"{path}: expected a folder of pictures, found none in it; check the path")
            if (line := found.left_out(path)) is not None:
                note(line)
            pictures += [file for file in found.to_read if not written_to(out, path, file)]
        else:
            check_exists(path)
            pictures.append(path)
    return pictures


def check_no_video(path: Path) -> None:
    """Raises ImageError for the name of a video."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ImageError(
            f"{path}: expected a picture, found a video; follow objects in it with glesam-run --follow, "
            "and --box X0 Y0 X1 Y1 in its first frame"
        )
