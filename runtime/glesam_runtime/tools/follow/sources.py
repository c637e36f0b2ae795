"""Opens what frames come from: a folder of pictures, a video file, or a camera."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ImageError, InputError
from ...image_io import check_exists, pictures_below, read_image, written_to
from .frames import Frame, Frames


@contextmanager
def opened_frames(source: Path, out: Path) -> Iterator[Frames]:
    """Yields the frames of a folder, in the order of the numbers in their names, of a video or of a camera.

    What lies in `out`, the folder of results, is no frame.
    Raises ImageError where there are none, and InputError where PyAV is absent, which all but folders need.
    """
    if os.path.isdir(source):
        found = (path for path in pictures_below(source).to_read if not written_to(out, source, path))
        pictures = sorted(found, key=_by_number)
        if not pictures:
            raise ImageError(f"{source}: expected a folder of frames, found no picture in it")
        yield Frames(_of_files(pictures), count=len(pictures))
        return
    is_camera = os.path.exists(source) and stat.S_ISCHR(os.stat(source).st_mode)
    if not is_camera:
        _check_exists(source)
    try:
        from .video import opened_video
    except ImportError as error:
        raise InputError(
            f"{source}: a video needs {error.name}: pip install 'glesam[video]'; "
            "a folder of frames needs nothing more"
        ) from error
    with opened_video(source, is_camera) as video:
        yield video


def _check_exists(source: Path) -> None:
    """Raises ImageError where there is neither a file nor a camera at `source`."""
    name = str(source)
    if name.isascii() and name.isdigit() and not os.path.exists(source):
        raise ImageError(
            f"{name}: expected a path, found a number; camera {name} is /dev/video{name}, "
            "and ls /dev/video* lists all"
        )
    if name.startswith("/dev/") and not os.path.exists(source):
        raise ImageError(f"{name}: expected a camera, found nothing; ls /dev/video* lists all")
    check_exists(source, "a video, a folder of frames or a camera")


def _of_files(paths: list[Path]) -> Iterator[Frame]:
    for index, path in enumerate(paths):
        yield Frame(index, path, None, read_image(path))


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Returns a key that sorts frame2 before frame10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
