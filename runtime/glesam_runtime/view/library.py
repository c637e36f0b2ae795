"""The pictures that the page offers: those of a folder, and samples. Nothing outside them is ever read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from ..errors import ImageError, InputError
from ..image_io import SUFFIXES, pictures_below, read_image
from ..image_io.folders import Found
from ..image_io.pictures import jpeg_bytes
from ..tools.run.inputs import check_no_video
from .tabs import Picture

SHOWN_QUALITY = 95
"""JPEG quality that shows a degraded picture without artefacts of its own."""
MOST_LISTED = 2000
"""Largest number of a folder's pictures that the page lists."""
MOST_PIXELS = 50_000_000
"""Largest picture on the page: each tab holds it twice, uint8 RGB."""
_THUMBNAIL_PX = 160
_EXAMPLES = Path(__file__).parent / "photos"
"""The degraded example photograph; in a clone a link to examples/photos."""


@dataclass(frozen=True)
class Library:
    """Pictures by the name that the page uses for them.

    root: the folder in which all of `own` must lie.
    left_out: lines about pictures in it that are not among them.
    """

    own: Mapping[str, Path]
    samples: Mapping[str, Path] = field(default_factory=dict)
    root: Path | None = None
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path | None) -> Library:
        """Returns the library of a picture, of a folder, or of samples alone.

        Raises ImageError for what is no picture that can be shown, InputError for a folder without pictures.
        """
        if path is None:
            return cls({}, _samples())
        if os.path.isdir(path):  # unlike Path.is_dir, false for a name that is too long or forbidden
            return cls._of_folder(path)
        check_no_video(path)
        read_image(path, MOST_PIXELS)  # what cannot be read is refused before there is a page
        return cls({path.name: path}, _samples())

    @classmethod
    def _of_folder(cls, path: Path) -> Library:
        root = path.resolve()
        found = pictures_below(path)
        inside = [x for x in found.pictures if x.resolve().is_relative_to(root)]
        if not inside:
            raise InputError(f"{path}: no pictures in it; expected {', '.join(SUFFIXES)}")
        own = {x.relative_to(path).as_posix(): x for x in inside[:MOST_LISTED]}
        return cls(own, _samples(), root, tuple(_left_out(path, found, inside)))

    def read(self, name: str, is_sample: bool) -> Picture:
        """Reads a picture of the library. Raises ImageError where it has none of that name."""
        path = self._path(name, is_sample)
        pixels = read_image(path, MOST_PIXELS)
        return Picture(path.name, str(path), pixels, pixels)

    def thumbnail(self, name: str) -> bytes:
        """Returns a small JPEG of a sample."""
        picture = Image.fromarray(read_image(self._path(name, True), MOST_PIXELS))
        picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        return jpeg_bytes(picture, SHOWN_QUALITY)

    def _path(self, name: str, is_sample: bool) -> Path:
        path = (self.samples if is_sample else self.own).get(name)
        if path is None:
            raise ImageError(f"{name}: expected a picture that the page lists; choose one of them")
        # Looked at again: a link may have taken the file's place since the folder was searched.
        if not is_sample and self.root is not None and not path.resolve().is_relative_to(self.root):
            raise ImageError(f"{name}: expected a picture in the folder, found a link that leads out of it")
        return path


def _left_out(folder: Path, found: Found, inside: Sequence[Path]) -> Iterator[str]:
    """Yields a line for each reason for which the page does not list a picture below `folder`."""
    if (masks := found.left_out(folder)) is not None:
        yield masks
    if closed := found.closed:
        yield f"left out {_count(closed, 'folder')} that cannot be read, first {closed[0]}"
    if outside := sorted(set(found.pictures) - set(inside)):
        first = outside[0].relative_to(folder)
        yield f"left out {_count(outside, 'link')} to pictures outside {folder}, first {first}"
    if more := inside[MOST_LISTED:]:
        yield f"left out {_count(more, 'picture')} of {folder}; the page lists the first {MOST_LISTED}"


def _count(things: Sequence[Path], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) > 1)}"


def read_upload(file: Path, name: str) -> Picture:
    """Reads a picture that a browser sent under `name`. Raises ImageError as read_image does."""
    try:
        pixels = read_image(file, MOST_PIXELS)
    except ImageError as error:
        raise ImageError(f"{name}: {str(error).removeprefix(f'{file}: ')}") from error
    return Picture(name, name, pixels, pixels)


def _samples() -> dict[str, Path]:
    """Returns the photographs that came with this project, the degraded one first."""
    folders = [_EXAMPLES]
    spec = find_spec("glesam_calib")  # its photographs only: the runtime imports no other package of ours
    if spec is not None and spec.submodule_search_locations:
        folders += [Path(spec.submodule_search_locations[0]) / "photos"]
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))]
    return {path.name: path for path in paths}
