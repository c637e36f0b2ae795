"""Data sets annotated by COCO or LVIS files: instances as polygons or run lengths become masks."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths  # type: ignore[import-untyped]

from glesam.data.annotations import AnnotatedImage, Segmentation, read_annotations
from glesam.data.descriptions import DatasetDescription
from glesam.data.label_maps import MIN_OBJECT_PX
from glesam.data.masks import Mask, MaskLayers
from glesam.data.sample import Sample
from glesam_runtime.errors import InputError, printable
from glesam_runtime.image_io import read_image


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


def decode(segmentation: Segmentation | dict[str, Any], shape: tuple[int, int]) -> Mask:
    """Decodes polygons and run-length codes, compressed or not, to one mask bool [H, W].

    Raises:
        InputError: the run lengths are not valid, or those of another picture size.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    polygons = [part for part in parts if not isinstance(part, dict)]
    mask = np.zeros(shape, bool)
    if polygons:
        code = run_lengths.merge(run_lengths.frPyObjects(polygons, *shape))
        mask |= mask_of_runs(expand_counts(code["counts"].decode()), shape)
    for part in parts:
        if isinstance(part, dict):
            mask |= _decode_runs(part, shape)
    return mask


def _decode_runs(code: dict[str, Any], shape: tuple[int, int]) -> Mask:
    if list(code["size"]) != list(shape):
        raise InputError(f"a run-length code has size {code['size']}, its picture {list(shape)}")
    counts = code["counts"]
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


def to_stderr(line: str) -> None:
    """Prints a line beside the results, its names escaped."""
    print(printable(line), file=sys.stderr)


def coco_instances(
    data: Path, description: DatasetDescription, report: Callable[[str], None] = to_stderr
) -> CocoInstances:
    """The whole data set of a description; `report` takes a line about annotations that cannot be used.

    Raises:
        FileNotFoundError: the folder of the pictures or the annotations are missing.
        InputError: not annotations of COCO or LVIS, or two pictures of one stem.
    """
    folder = description.folder(data) / description.images
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the pictures of {description.name}")
    path = data / description.annotations
    images = sorted(read_annotations(path, report), key=lambda image: image.path)
    counted = Counter(image.name for image in images)
    if repeated := [name for name, count in counted.items() if count > 1]:
        raise InputError(
            f"{path}: two pictures are named {repeated[0]}; give every picture a name of its own"
        )
    return CocoInstances(description.name, description.weight, folder, images)
