"""Finds the pictures below a folder: sub-folders count, hidden files and masks beside pictures do not."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import check_exists

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
_LOSSLESS, _LOSSY = (
    (".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    (".jpg", ".jpeg", ".webp", ".avif"),
)
"""Suffixes of masks beside photographs, and of the photographs."""
_MASK_FOLDERS = (MASKS, "mask", "labels", "gt", "annotations")
"""Usual names of folders of masks."""
_REMAINS = ("__MACOSX", "@eaDir")
"""Folders that macOS leaves in archives and Synology's file servers everywhere: no pictures of the user's."""


@dataclass(frozen=True)
class Found:
    """What is below a folder, sorted by path: pictures, the masks that lie beside them, and closed folders.

    A link that leads nowhere is among the pictures. closed: folders whose names cannot be read.
    """

    pictures: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    closed: tuple[Path, ...] = ()

    @property
    def to_read(self) -> list[Path]:
        """Pictures and closed folders, by path: who reads them all reports what cannot be read."""
        return sorted((*self.pictures, *self.closed))

    def left_out(self, folder: Path) -> str | None:
        """Returns a line that names the masks which are left out; None where there are none."""
        if not self.masks:
            return None
        first = self.masks[0].relative_to(folder)
        count = f"{len(self.masks)} mask{'s' * (len(self.masks) > 1)}"
        return f"left out {count} of pictures in {folder}, first {first}"


def picture_files(folder: Path) -> Found:
    """Returns every file below `folder` with a picture's suffix, masks among the pictures.

    Hidden ones are skipped: macOS leaves `._` files in archives, which have pictures' names and are none.
    Raises ImageError where `folder` itself cannot be read.
    """
    files: list[Path] = []
    closed: list[Path] = []

    def keep(error: OSError) -> None:
        if Path(error.filename) == folder and isinstance(error, PermissionError):
            check_exists(folder)
        closed.append(Path(error.filename))

    for root, folders, names in os.walk(folder, onerror=keep):
        folders[:] = [name for name in folders if not _hidden(name)]
        paths = (Path(root, name) for name in names if not _hidden(name))
        files += (path for path in paths if path.suffix.lower() in SUFFIXES and _may_be_read(path))
    return Found(tuple(sorted(files)), closed=tuple(sorted(closed)))


def _may_be_read(path: Path) -> bool:
    """Returns False for what is there and no file, such as a pipe."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def pictures_below(folder: Path) -> Found:
    """Returns the pictures below `folder`, and apart from them the masks that lie beside them."""
    found = picture_files(folder)
    masks = masks_beside(found.pictures, folder)
    pictures = tuple(path for path in found.pictures if path not in masks)
    return Found(pictures, tuple(sorted(masks)), found.closed)


def written_to(out: Path, folder: Path, file: Path) -> bool:
    """Returns whether `out`, a command's folder for results, lies below `folder`, and `file` in it."""
    inner = out.resolve()
    return folder.resolve() in inner.parents and inner in file.resolve().parents


def masks_beside(files: Sequence[Path], folder: Path) -> set[Path]:
    """Returns those of `files` that are another one's mask.

    A mask lies in `masks` beside `images`, or in a folder of such a name while its picture lies in `images`
    beside it, or around it; or it is `a_mask.png` or `a.png` beside `a.jpg`.
    """
    stems = by_stem(files)
    return {path for path in files if _in_masks(path, folder, stems) or named_as_a_mask(path, stems)}


def by_stem(files: Sequence[Path]) -> dict[Path, list[Path]]:
    """Returns files by their paths without the suffix."""
    stems: dict[Path, list[Path]] = {}
    for path in files:
        stems.setdefault(path.with_suffix(""), []).append(path)
    return stems


def named_as_a_mask(path: Path, stems: Mapping[Path, Sequence[Path]]) -> bool:
    """True where `path` has the name of another file's mask; `stems` has all files, see `by_stem`."""
    if path.stem.endswith(MASK_ENDING) and path.with_name(path.stem.removesuffix(MASK_ENDING)) in stems:
        return True
    suffix, same = path.suffix.lower(), [one.suffix.lower() for one in stems[path.with_suffix("")]]
    if suffix == MASK_SUFFIX:
        return any(other != MASK_SUFFIX for other in same)
    return suffix in _LOSSLESS and any(other in _LOSSY for other in same)


def _in_masks(path: Path, folder: Path, stems: Mapping[Path, Sequence[Path]]) -> bool:
    for parent in map(folder.joinpath, path.relative_to(folder).parents):
        if parent.name not in _MASK_FOLDERS:
            continue
        if parent.name == MASKS and parent.with_name(IMAGES).is_dir():
            return True
        stem = path.relative_to(parent).with_suffix("")
        names = (stem, stem.with_name(stem.name.removesuffix(MASK_ENDING)))
        around = (parent.with_name(IMAGES), parent.parent)
        if any(place / name in stems for place in around for name in names):
            return True
    return False


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _REMAINS
