"""Pictures of a user's own at one of LQSeg's levels, as files: a degraded test set from any folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from glesam.data.pictures import SUFFIXES, read_picture

from ..errors import InputError
from .lqseg import LEVEL_RATES, degrade_level


@dataclass(frozen=True)
class Job:
    """A picture and the PNG that its degraded twin becomes. `name` is what chance is drawn from."""

    source: Path
    target: Path
    name: str


def plan_jobs(paths: Iterable[Path], out: Path) -> list[Job]:
    """Every picture among `paths` and below the folders among them, in order.

    A picture given by itself is called by its file's name; one found in a folder by its path below it,
    which it keeps below `out`. The suffix becomes .png. What lies in `out` already is no input, even where
    `out` lies in a given folder.

    Raises:
        FileNotFoundError: a path is missing, or a folder holds no picture.
        InputError: two pictures would become one file, or one would be written over its source.
    """
    jobs = []
    for path in paths:
        found = [(file, name) for file, name in _pictures(path) if not _within(file, out, path)]
        if not found:
            raise FileNotFoundError(f"{path}: no pictures in it; expected {', '.join(SUFFIXES)}")
        jobs += [Job(source, (out / name).with_suffix(".png"), name.as_posix()) for source, name in found]
    _refuse_collisions(jobs)
    return jobs


def degrade_file(job: Job, level: int, seed: int) -> None:
    """Reads, degrades and writes one picture; the file appears whole or not at all.

    Raises:
        InputError: the file is no picture.
        OSError: it cannot be read, or the target not be written.
    """
    degraded = degrade_level(read_picture(job.source), level, seed, job.name)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    partial = job.target.with_name(f".{job.target.name}.partial")
    try:
        Image.fromarray(degraded).save(partial, format="PNG")
        partial.replace(job.target)
    finally:
        partial.unlink(missing_ok=True)


def check_level(level: int, seed: int) -> None:
    """Raises InputError where there is no such level or seed."""
    if level not in LEVEL_RATES:
        raise InputError(f"level {level}: expected one of {', '.join(map(str, LEVEL_RATES))}")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")


def _pictures(path: Path) -> Iterator[tuple[Path, Path]]:
    """Each picture with its name."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        yield from ((file, file.relative_to(path)) for file in files if file.is_file())
    elif path.exists():
        yield path, Path(path.name)
    else:
        raise FileNotFoundError(f"{path}: no such file or folder; expected a picture or a folder of them")


def _within(file: Path, out: Path, folder: Path) -> bool:
    """Whether a file of `folder` lies in its subfolder `out`."""
    inner = out.resolve()
    return folder.resolve() in inner.parents and inner in file.resolve().parents


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
