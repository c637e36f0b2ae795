"""Files in, degraded files out: a test set at one of LQSeg's levels from any folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..image_io import SUFFIXES, pictures_below, png_bytes, read_image, written_to
from ..image_io.file_kinds import not_a_file
from ..output import write_files
from .lqseg import LEVEL_RATES, degrade_level


@dataclass(frozen=True)
class Job:
    """A picture, the PNG that its degraded version becomes, and the `name` that seeds the degradation."""

    source: Path
    target: Path
    name: str


def plan_jobs(
    paths: Iterable[Path], out: Path, report: Callable[[str], None] = lambda line: None
) -> list[Job]:
    """Plans a job for every picture among `paths` and below the folders among them, in order.

    Masks beside pictures are left out, and `report` takes a line about them.

    The name of a picture is its file's name, or its path below the folder that was searched. It keeps that
    path below `out`, with the suffix .png. Files in `out` are no input, even where `out` lies in one of the
    folders.

    Raises:
        FileNotFoundError: a path is missing, or a folder holds no picture.
        InputError: two pictures would become one file, or one would be written over its source.
    """
    jobs = []
    for path in paths:
        pictures = [(file, name) for file, name in _pictures(path, report) if not written_to(out, path, file)]
        if not pictures:
            raise FileNotFoundError(f"{path}: no pictures in it; expected {', '.join(SUFFIXES)}")
        jobs += [Job(source, (out / name).with_suffix(".png"), name.as_posix()) for source, name in pictures]
    _refuse_collisions(jobs)
    return jobs


def degrade_file(job: Job, level: int, seed: int) -> None:
    """Reads, degrades and writes one picture; the file appears whole or not at all.

    Raises:
        ImageError: the file is no picture that can be read.
        OutputError: the target cannot be written.
    """
    degraded = degrade_level(read_image(job.source), level, seed, job.name)
    write_files({job.target: png_bytes(Image.fromarray(degraded))})


def checked_level(level: str, seed: int) -> int:
    """Returns the number of a level. Raises InputError where there is no such level or seed."""
    numbers = {str(number): number for number in LEVEL_RATES}
    if level not in numbers:
        raise InputError(f"level {level}: expected one of {', '.join(numbers)}")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    return numbers[level]


def _pictures(path: Path, report: Callable[[str], None]) -> list[tuple[Path, Path]]:
    """Returns each picture with its name."""
    if path.is_dir():
        found = pictures_below(path)
        if line := found.left_out(path):
            report(line)
        return [(file, file.relative_to(path)) for file in found.to_read]
    if not_a_file(path) == "nothing":
        raise FileNotFoundError(f"{path}: no such file or folder; expected a picture or a folder of them")
    return [(path, Path(path.name))]


def _refuse_collisions(jobs: list[Job]) -> None:
    by_target: dict[Path, Job] = {}
    for job in jobs:
        other = by_target.setdefault(job.target, job)
        if other is not job:
            raise InputError(
                f"{other.source} and {job.source} would both become {job.target}; degrade them one after the "
                "other, to different folders"
            )
        if job.target.resolve() == job.source.resolve():
            raise InputError(f"{job.source} would be written over; choose another folder with --out")
