"""Annotation files of COCO and LVIS: instances as polygons or run lengths."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths  # type: ignore[import-untyped]

from glesam.data.descriptions import DatasetDescription
from glesam.data.label_maps import MIN_OBJECT_PX
from glesam.data.masks import Mask, MaskLayers
from glesam.data.sample import Sample
from glesam_runtime.errors import InputError
from glesam_runtime.image_io import read_image

Segmentation = list[NDArray[np.float64]] | dict[str, Any]
"""Polygons, each x0 y0 x1 y1 ... [px], or a run-length code {"size", "counts"}."""
MIN_POLYGON = 6
"""Fewest numbers of a polygon, a triangle's; pycocotools takes four for a box."""
MAX_COORDINATE = 1e5
"""Largest coordinate in px; far larger ones, and NaN, crash pycocotools or keep it busy."""


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


@dataclass(frozen=True, eq=False)
class CocoInstances:
    """A data set whose masks are decoded when a picture is read: all masks of COCO take 100 GB."""

    name: str
    weight: float
    folder: Path
    images: Sequence[AnnotatedImage]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(image.name for image in self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        entry = self.images[index]
        image = read_image(self.folder / entry.path)
        shape = entry.height, entry.width
        if image.shape[:2] != shape:
            raise InputError(
                f"{self.folder / entry.path}: expected {entry.width} x {entry.height} as annotated, "
                f"found {image.shape[1]} x {image.shape[0]}"
            )
        try:
            masks = [decode(segmentation, shape) for segmentation in entry.segmentations]
        except ValueError as error:
            raise InputError(f"{self.folder / entry.path}: in its annotations {error}") from error
        return Sample(self.name, entry.name, image, MaskLayers.stacked(masks, shape).at_least(MIN_OBJECT_PX))


def decode(segmentation: Segmentation, shape: tuple[int, int]) -> Mask:
    """Decodes polygons or a run-length code, compressed or not, to a mask bool [H, W].

    Raises:
        InputError: the run lengths are not valid, or those of another picture size.
    """
    height, width = shape
    if not isinstance(segmentation, dict):
        code = run_lengths.merge(run_lengths.frPyObjects(segmentation, height, width))
        return mask_of_runs(expand_counts(code["counts"].decode()), shape)
    if list(segmentation["size"]) != [height, width]:
        raise InputError(f"a run-length code has size {segmentation['size']}, its picture {[height, width]}")
    counts = segmentation["counts"]
    return mask_of_runs(expand_counts(counts) if isinstance(counts, str) else counts, shape)


def mask_of_runs(runs: Sequence[int], shape: tuple[int, int]) -> Mask:
    """Mask of runs of background and object in turns, down one column after the other.

    pycocotools would leave the pixels after the last run of a short code uninitialized.
    """
    height, width = shape
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise InputError(
            f"run lengths are not those of {width} x {height} px, from 0 on and {width * height} in sum"
        )
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height)
    return np.ascontiguousarray(columns.T)


def expand_counts(counts: str) -> list[int]:
    """Decodes COCO's compressed run lengths.

    Each character, counted from "0", holds five bits of a number, the lowest first. Bit 32 is set where more
    follow, and bit 16 of the last one is the sign. From the fourth number on, each is the difference to the
    one two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        group = ord(character) - ord("0")
        if not 0 <= group < 64:
            raise InputError(f"a compressed run-length code holds {character!r}")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def read_annotations(path: Path) -> list[AnnotatedImage]:
    """Reads the pictures of a COCO or LVIS file that have an instance; crowds are skipped.

    Only what masks need is kept: half a gigabyte of JSON becomes a few arrays per picture.

    Raises:
        InputError: not such a file.
        OSError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            contents = json.load(file)
        kept = defaultdict(list)
        for annotation in contents["annotations"]:
            if not annotation.get("iscrowd") and (segmentation := _kept(annotation["segmentation"])):
                kept[annotation["image_id"]].append(segmentation)
        return [_image(entry, kept[entry["id"]]) for entry in contents["images"] if kept[entry["id"]]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(
            f"{path}: expected annotations of COCO or LVIS with images and segmentations: {problem}"
        ) from error


def _kept(segmentation: Any) -> Segmentation:  # noqa: ANN401
    if isinstance(segmentation, dict):
        size, counts = segmentation["size"], segmentation["counts"]
        if not isinstance(counts, str) and any(type(count) is not int for count in counts):
            raise InputError("expected run lengths as whole numbers, or compressed as a string")
        return {"size": size, "counts": counts}
    polygons = [np.asarray(polygon, np.float64) for polygon in segmentation if len(polygon) >= MIN_POLYGON]
    if any(p.ndim != 1 or p.size % 2 or not (np.abs(p) <= MAX_COORDINATE).all() for p in polygons):
        raise InputError("expected polygons as x0 y0 x1 y1 ... in px")
    return polygons


def _image(entry: dict[str, Any], segmentations: Iterable[Segmentation]) -> AnnotatedImage:
    """A picture's entry; LVIS has addresses in place of file names, ".../train2017/000000391895.jpg"."""
    name = entry.get("file_name") or "/".join(entry["coco_url"].split("/")[-2:])
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"{name} leaves the pictures' folder")
    return AnnotatedImage(name, int(entry["width"]), int(entry["height"]), tuple(segmentations))


def coco_instances(data: Path, description: DatasetDescription) -> CocoInstances:
    """The whole data set of a description.

    Raises:
        FileNotFoundError: the folder of the pictures or the annotations are missing.
        InputError: not annotations of COCO or LVIS, or two pictures of one stem.
    """
    folder = description.folder(data) / description.images
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the pictures of {description.name}")
    path = data / description.annotations
    images = sorted(read_annotations(path), key=lambda image: image.path)
    counted = Counter(image.name for image in images)
    if repeated := [name for name, count in counted.items() if count > 1]:
        raise InputError(
            f"{path}: two pictures are named {repeated[0]}; give every picture a name of its own"
        )
    return CocoInstances(description.name, description.weight, folder, images)
