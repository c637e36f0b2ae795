"""Annotation files of COCO and LVIS: instances as polygons or run lengths."""

from __future__ import annotations

import json
from collections import defaultdict
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
from glesam.data.pictures import read_picture
from glesam.data.sample import Sample

Segmentation = list[NDArray[np.float64]] | dict[str, Any]
"""Polygons, each x0 y0 x1 y1 ... [px], or a run-length code {"size", "counts"}."""
MIN_POLYGON = 6
"""Numbers of a triangle; the library takes four for a box."""


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
    """A data set whose masks are decoded when a picture is asked for: all of COCO's are 100 GB."""

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
        image = read_picture(self.folder / entry.path)
        shape = entry.height, entry.width
        if image.shape[:2] != shape:
            raise ValueError(
                f"{self.folder / entry.path}: expected {entry.width} x {entry.height} as annotated, "
                f"found {image.shape[1]} x {image.shape[0]}"
            )
        masks = [decode(segmentation, shape) for segmentation in entry.segmentations]
        return Sample(self.name, entry.name, image, MaskLayers.stacked(masks, shape).at_least(MIN_OBJECT_PX))


def decode(segmentation: Segmentation, shape: tuple[int, int]) -> Mask:
    """bool [H, W] of polygons or of a run-length code, compressed or not."""
    height, width = shape
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], (str, bytes)):
        code = segmentation
    else:
        code = run_lengths.frPyObjects(segmentation, height, width)
        code = run_lengths.merge(code) if isinstance(code, list) else code
    mask: Mask = run_lengths.decode(code).astype(bool)
    return mask


def read_annotations(path: Path) -> list[AnnotatedImage]:
    """The pictures of a COCO or LVIS file that have an instance; crowds are skipped.

    Only what masks need is kept: half a gigabyte of JSON becomes a few arrays per picture.

    Raises:
        ValueError: not such a file.
        OSError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            contents = json.load(file)
        found = defaultdict(list)
        for annotation in contents["annotations"]:
            if not annotation.get("iscrowd") and (segmentation := _kept(annotation["segmentation"])):
                found[annotation["image_id"]].append(segmentation)
        return [_image(entry, found[entry["id"]]) for entry in contents["images"] if found[entry["id"]]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(
            f"{path}: expected annotations of COCO or LVIS with images and segmentations: {problem}"
        ) from error


def _kept(segmentation: Any) -> Segmentation:  # noqa: ANN401
    if isinstance(segmentation, dict):
        return {key: segmentation[key] for key in ("size", "counts")}
    return [np.asarray(polygon, np.float64) for polygon in segmentation if len(polygon) >= MIN_POLYGON]


def _image(entry: dict[str, Any], segmentations: Iterable[Segmentation]) -> AnnotatedImage:
    """LVIS has no file names but addresses, ".../train2017/000000391895.jpg"."""
    name = entry.get("file_name") or "/".join(entry["coco_url"].split("/")[-2:])
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name} leaves the pictures' folder")
    return AnnotatedImage(name, int(entry["width"]), int(entry["height"]), tuple(segmentations))


def coco_instances(data: Path, description: DatasetDescription) -> CocoInstances:
    """The whole described set.

    Raises:
        FileNotFoundError: the folder of the pictures or the annotations are missing.
        ValueError: not annotations of COCO or LVIS.
    """
    folder = description.folder(data) / description.images
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the pictures of {description.name}")
    images = sorted(read_annotations(data / description.annotations), key=lambda image: image.path)
    return CocoInstances(description.name, description.weight, folder, images)
