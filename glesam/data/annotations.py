"""Reads annotation files of COCO and LVIS: pictures, and the segmentations of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glesam_runtime.errors import InputError
from glesam_runtime.image_io.file_kinds import stand_in

Segmentation = list[NDArray[np.float64] | dict[str, Any]]
"""Parts of one mask: polygons, each x0 y0 x1 y1 ... [px], and run-length codes {"size", "counts"}."""
MIN_POLYGON = 6
"""Fewest numbers of a polygon, a triangle's; pycocotools takes four for a box."""
MAX_COORDINATE = 1e5
"""Largest coordinate in px; far larger ones, and NaN, crash pycocotools or keep it busy."""
NO_PICTURE, NOTHING, TOO_SHORT, NORMALISED, OUTSIDE = (
    "of a picture that is not listed",
    "without a segmentation",
    "with a polygon of fewer than 3 points",
    "with a polygon in numbers from 0 to 1 instead of px",
    "with a polygon outside the picture",
)
NO_CROWD = ("", "0", "0.0", "false", "none")
"""Values of iscrowd, as lower-case text, that are false; some writers put numbers into quotes."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture's entry: `path` within the set's folder, and its size in px."""

    path: str
    width: int
    height: int
    segmentations: tuple[Segmentation, ...]

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).stem


@dataclass
class Unusable:
    """Annotations that cannot be used: how many for each reason, and an example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, annotation: dict[str, Any], place: int) -> None:
        self.counts[reason] += 1
        self.first.setdefault(reason, called(annotation, place))

    def line(self, path: Path) -> str | None:
        """Returns all of them in one line; None where there are none."""
        if not self.counts:
            return None
        parts = [f"{count} {why} (first {self.first[why]})" for why, count in self.counts.items()]
        return f"{path}: left out annotations: {', '.join(parts)}"


def read_annotations(path: Path, report: Callable[[str], None] = lambda line: None) -> list[AnnotatedImage]:
    """Reads the pictures of a COCO or LVIS file that have an instance; crowds are skipped.

    Only what masks need is kept: half a gigabyte of JSON becomes a few arrays per picture. Annotations that
    cannot be used are counted and named in one line through `report`.

    Raises:
        InputError: not such a file, or two pictures have one id.
        OSError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors write a byte order mark
            contents = json.load(file)
        entries = _entries_by_id(contents["images"])
        unusable = Unusable()
        kept: dict[int | str, list[Segmentation]] = {id_: [] for id_ in entries}
        for id_, segmentation in _usable(contents["annotations"], entries, unusable):
            kept[id_].append(segmentation)
        images = [_image(entries[id_], segmentations) for id_, segmentations in kept.items() if segmentations]
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        if found := stand_in(path):
            problem = f"found {found}"
        raise InputError(
            f"{path}: expected annotations of COCO or LVIS with images and segmentations: {problem}"
        ) from error
    if line := unusable.line(path):
        report(line)
    return images


def id_of(value: Any) -> int | str:  # noqa: ANN401
    """Returns an id, a whole number where it is one in any notation: 17, 17.0 and "17" are the same."""
    if isinstance(value, str):
        return int(value) if value.strip().isascii() and value.strip().isdecimal() else value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and int(value) == value:
        return int(value)
    raise InputError(f"expected ids as whole numbers or text, found {json.dumps(value)}")


def called(annotation: dict[str, Any], place: int) -> str:
    """Returns how an annotation is called in messages: by its id, or by its place in the file."""
    return f"id {annotation['id']}" if "id" in annotation else f"number {place + 1} of the file"


def _entries_by_id(entries: list[dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Returns every picture's entry by its id; raises InputError where two pictures have one id."""
    by_id: dict[int | str, dict[str, Any]] = {}
    for entry in entries:
        id_ = id_of(entry["id"])
        if id_ in by_id:
            raise InputError(
                f"{_name(by_id[id_])} and {_name(entry)} have one id, {id_}, "
                "so each would get the other's objects; "
                "give every picture an id of its own, as when files are merged"
            )
        by_id[id_] = entry
    return by_id


def _usable(
    annotations: list[dict[str, Any]], entries: dict[int | str, dict[str, Any]], unusable: Unusable
) -> Iterator[tuple[int | str, Segmentation]]:
    """Yields the picture's id and the segmentation of every instance; the others are counted.

    Raises KeyError where none of them has a segmentation: then it is a file of boxes.
    """
    if annotations and not any("segmentation" in annotation for annotation in annotations):
        raise KeyError("segmentation")
    for place, annotation in enumerate(annotations):
        if str(annotation.get("iscrowd")).strip().lower() not in NO_CROWD:
            continue
        try:
            id_, parts = id_of(annotation["image_id"]), _parts(annotation.get("segmentation"))
        except InputError as error:
            raise InputError(f"annotation {called(annotation, place)}: {error}") from error
        if id_ not in entries:
            unusable.add(NO_PICTURE, annotation, place)
        elif not parts:
            unusable.add(NOTHING, annotation, place)
        else:
            problems = [_problem(part, entries[id_]) for part in parts]
            for problem in dict.fromkeys(filter(None, problems)):
                unusable.add(problem, annotation, place)
            if whole := [part for part, problem in zip(parts, problems, strict=True) if problem is None]:
                yield id_, whole


def _problem(part: NDArray[np.float64] | dict[str, Any], entry: dict[str, Any]) -> str | None:
    """Returns why a part of a mask covers nothing of its picture; None where it may."""
    if isinstance(part, dict):
        return None
    if len(part) < MIN_POLYGON:
        return TOO_SHORT
    width, height = int(entry["width"]), int(entry["height"])
    if 1 < part[0] < width and 0 <= part[1] < height:
        return None  # quick, for nearly all of COCO's million polygons
    if part.min() >= 0 and part.max() <= 1 < max(width, height):
        return NORMALISED
    (left, top), (right, bottom) = part.reshape(-1, 2).min(axis=0), part.reshape(-1, 2).max(axis=0)
    return OUTSIDE if right <= 0 or bottom <= 0 or left >= width or top >= height else None


def _parts(segmentation: Any) -> Segmentation:  # noqa: ANN401
    """Returns polygons and run lengths of any usual nesting; raises InputError for anything else.

    A polygon is x0 y0 x1 y1 ..., or pairs [x, y]; a segmentation is a list of polygons or of codes, or one.
    """
    if segmentation is None:
        return []
    if isinstance(segmentation, dict):
        return [_run_lengths(segmentation)]
    if not isinstance(segmentation, list):
        raise InputError(f"expected polygons or run lengths, found {type(segmentation).__name__}")
    if segmentation and (all(map(_is_number, segmentation)) or all(map(_is_pair, segmentation))):
        return [_polygon(segmentation)]
    return [_run_lengths(part) if isinstance(part, dict) else _polygon(part) for part in segmentation]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _polygon(points: Any) -> NDArray[np.float64]:  # noqa: ANN401
    polygon = np.asarray(points, np.float64)
    if polygon.ndim == 2 and polygon.shape[1] == 2:
        polygon = polygon.reshape(-1)
    short = polygon.size < MIN_POLYGON
    if polygon.ndim != 1 or (polygon.size % 2 and not short) or not (np.abs(polygon) <= MAX_COORDINATE).all():
        raise InputError("expected polygons as x0 y0 x1 y1 ... in px")
    return polygon


def _run_lengths(code: dict[str, Any]) -> dict[str, Any]:
    size, counts = code["size"], code["counts"]
    if not isinstance(counts, str) and any(type(count) is not int for count in counts):
        raise InputError("expected run lengths as whole numbers, or compressed as a string")
    return {"size": size, "counts": counts}


def _name(entry: dict[str, Any]) -> str:
    """The file's name; LVIS has addresses in its place, ".../train2017/000000391895.jpg"."""
    name = entry.get("file_name") or "/".join(entry["coco_url"].split("/")[-2:])
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"{name} leaves the pictures' folder")
    return str(name)


def _image(entry: dict[str, Any], segmentations: list[Segmentation]) -> AnnotatedImage:
    return AnnotatedImage(_name(entry), int(entry["width"]), int(entry["height"]), tuple(segmentations))
