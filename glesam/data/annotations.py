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
NO_PICTURE, NOTHING, TOO_SHORT = (
    "of a picture that is not listed",
    "without a segmentation",
    "with a polygon of fewer than 3 points",
)


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
        example = f"id {annotation['id']}" if "id" in annotation else f"number {place + 1} of the file"
        self.first.setdefault(reason, example)

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
        with path.open(encoding="utf-8") as file:
            contents = json.load(file)
        names = _names_by_id(contents["images"])
        unusable = Unusable()
        kept: dict[int | str, list[Segmentation]] = {id_: [] for id_ in names}
        for id_, segmentation in _usable(contents["annotations"], names, unusable):
            kept[id_].append(segmentation)
        pictures = [(entry, kept[id_of(entry["id"])]) for entry in contents["images"]]
        images = [_image(entry, segmentations) for entry, segmentations in pictures if segmentations]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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


def _names_by_id(entries: list[dict[str, Any]]) -> dict[int | str, str]:
    """Returns every picture's file name by its id; raises InputError where two pictures have one id."""
    names: dict[int | str, str] = {}
    for entry in entries:
        id_, name = id_of(entry["id"]), _name(entry)
        if id_ in names:
            raise InputError(
                f"{names[id_]} and {name} have one id, {id_}, so each would get the other's objects; "
                "give every picture an id of its own, as when files are merged"
            )
        names[id_] = name
    return names


def _usable(
    annotations: list[dict[str, Any]], names: dict[int | str, str], unusable: Unusable
) -> Iterator[tuple[int | str, Segmentation]]:
    """Yields the picture's id and the segmentation of every instance; the others are counted."""
    for place, annotation in enumerate(annotations):
        if annotation.get("iscrowd"):
            continue
        id_ = id_of(annotation["image_id"])
        parts = _parts(annotation["segmentation"])
        whole = [part for part in parts if isinstance(part, dict) or len(part) >= MIN_POLYGON]
        if id_ not in names:
            unusable.add(NO_PICTURE, annotation, place)
        elif not parts:
            unusable.add(NOTHING, annotation, place)
        else:
            if len(whole) < len(parts):
                unusable.add(TOO_SHORT, annotation, place)
            if whole:
                yield id_, whole


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
