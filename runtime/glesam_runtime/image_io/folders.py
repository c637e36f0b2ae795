"""Finds the pictures below a folder: sub-folders count, hidden files and masks beside pictures do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".avif", ".ppm", ".pgm", ".pbm"),
)
"""Endings, in lower case, of the files that count as pictures when a folder is searched."""
IMAGES, MASKS = "images", "masks"
"""Folders that lie together and hold pictures and their masks."""
MASK_ENDING = "_mask"
"""What follows the picture's stem in the name of a mask."""
MASK_SUFFIX = ".png"
"""Suffix of a mask beside a picture of the same stem and another suffix."""
_ARCHIVE_REMAINS = "__MACOSX"


@dataclass(frozen=True)
class Found:
    """Files below a folder, sorted by path: pictures, and the masks that lie beside them."""

    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]

    def left_out(self, folder: Path) -> str | None:
        """Returns a line that names the masks which are left out; None where there are none."""
        if not self.masks:
            return None
        first = self.masks[0].relative_to(folder)
        count = f"{len(self.masks)} mask{'s' * (len(self.masks) > 1)}"
        return f"left out {count} of pictures in {folder}, first {first}"


def picture_files(folder: Path) -> list[Path]:
    """Returns every file below `folder` with a picture's suffix, sorted by path; hidden ones are skipped.

    macOS leaves `._` files and `__MACOSX` folders in archives, which have pictures' names and no pictures.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not _hidden(path.relative_to(folder)) and path.is_file()
    )


def pictures_below(folder: Path) -> Found:
    """Returns the pictures below `folder`, and apart from them the masks that lie beside them."""
    files = picture_files(folder)
    masks = masks_beside(files, folder)
    return Found(tuple(path for path in files if path not in masks), tuple(sorted(masks)))


def masks_beside(files: Sequence[Path], folder: Path) -> set[Path]:
    """Returns those of `files` that are another one's mask.

    A mask lies in `masks` beside `images`, or is `a_mask.png` or `a.png` beside `a.jpg`.
    """
    by_stem: dict[Path, list[Path]] = {}
    for path in files:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    return {path for path in files if _in_masks(path, folder) or _named_as_a_mask(path, by_stem)}


def _named_as_a_mask(path: Path, by_stem: dict[Path, list[Path]]) -> bool:
    if path.stem.endswith(MASK_ENDING) and path.with_name(path.stem.removesuffix(MASK_ENDING)) in by_stem:
        return True
    same = by_stem[path.with_suffix("")]
    return path.suffix.lower() == MASK_SUFFIX and any(one.suffix.lower() != MASK_SUFFIX for one in same)


def _in_masks(path: Path, folder: Path) -> bool:
    for parent in path.relative_to(folder).parents:
        if parent.name == MASKS and (folder / parent).with_name(IMAGES).is_dir():
            return True
    return False


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == _ARCHIVE_REMAINS for part in relative.parts)
