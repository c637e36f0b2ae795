"""Data sets that are folders of pictures with a mask or label map each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from glesam.data.descriptions import DatasetDescription
from glesam.data.label_maps import MIN_OBJECT_PX, objects
from glesam.data.masks import Mask, MaskLayers
from glesam.data.pictures import check_void, read_binary_mask, read_label_map
from glesam.data.sample import Sample
from glesam_runtime.errors import InputError
from glesam_runtime.image_io import check_exists, read_image
from glesam_runtime.image_io.folders import (
    IMAGES,
    MASK_ENDING,
    MASK_SUFFIX,
    MASKS,
    by_stem,
    named_as_a_mask,
    picture_files,
)


@dataclass(frozen=True)
class Pair:
    """A picture and its mask; `name` is the picture's path within its folder, without the suffix."""

    image: Path
    mask: Path
    name: str


def find_pairs(folder: Path, description: DatasetDescription) -> list[Pair]:
    """Pairs every picture below a folder with its mask of the same path and stem, sorted by path.

    Without folders in the description, `images` and `masks` within the data set's folder are used where both
    exist. Where pictures and masks lie together, a mask is `stem.png` beside a picture of another suffix,
    a file of another lossless format beside a JPEG, WebP or AVIF of its stem, or has a `mask_suffix` ("_mask"
    where any file has it).

    Raises:
        FileNotFoundError: a folder is missing, or holds no picture, or a picture has no mask.
        InputError: two pictures of a folder have the same stem, or a folder cannot be read.
    """
    images, masks = _folders(folder, description)
    pictures, candidates = _files(images), _files(masks)
    suffix = description.mask_suffix
    if images == masks and not suffix and any(path.stem.endswith(MASK_ENDING) for path in candidates):
        suffix = MASK_ENDING
    if images == masks:
        candidates = _masks_among(candidates, suffix)
        pictures = [path for path in pictures if path not in candidates]
    if not pictures:
        raise FileNotFoundError(
            f"no pictures in {images}; expected images with a mask each, as in 1.jpg 1.png"
        )
    named = _by_name(pictures, images)
    by_name = _by_name(candidates, masks)
    for name, picture in named.items():
        if name + suffix not in by_name:
            raise FileNotFoundError(
                f"{picture}: it has no mask; expected {masks / (name + suffix)}{MASK_SUFFIX}"
            )
    return [Pair(picture, by_name[name + suffix], name) for name, picture in named.items()]


def _folders(folder: Path, description: DatasetDescription) -> tuple[Path, Path]:
    images, masks = folder / description.images, folder / description.masks
    if not description.images and not description.masks:
        usual = (folder / IMAGES, folder / MASKS)
        images, masks = usual if all(path.is_dir() for path in usual) else (folder, folder)
    for path in (images, masks):
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder; expected the pictures of {description.name}")
    return images, masks


def _files(folder: Path) -> list[Path]:
    """Pictures below `folder`; raises ImageError for a folder in it that cannot be read."""
    found = picture_files(folder)
    for path in found.closed:
        check_exists(path)
    return list(found.pictures)


def _masks_among(files: Sequence[Path], suffix: str) -> list[Path]:
    if suffix:
        return [path for path in files if path.stem.endswith(suffix)]
    stems = by_stem(files)
    return [path for path in files if path.suffix.lower() == MASK_SUFFIX or named_as_a_mask(path, stems)]


def _by_name(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Files by their path within `folder` without the suffix; raises InputError where two have one name."""
    named: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if other := named.get(name):
            raise InputError(f"{path} and {other.name} share one stem; give every picture a name of its own")
        named[name] = path
    return named


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """A data set of pairs. `read` reads a mask file's numbers [H, W], `find` finds the objects in them."""

    name: str
    weight: float
    pairs: Sequence[Pair]
    read: Callable[[Path], NDArray[Any]]
    find: Callable[[NDArray[Any]], Sequence[Mask]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(pair.name for pair in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image, labels = read_image(pair.image), self.read(pair.mask)
        height, width = labels.shape
        if (height, width) != image.shape[:2]:
            raise InputError(
                f"{pair.mask}: expected the size of its picture, {image.shape[1]} x {image.shape[0]}, "
                f"found {width} x {height}"
            )
        return Sample(self.name, pair.name, image, MaskLayers.stacked(self.find(labels), (height, width)))


def picture_folder(description: DatasetDescription, pairs: Sequence[Pair]) -> PictureFolder:
    """The data set of these pairs, of the description's kind "label_maps" or "pairs"."""
    name, weight = description.name, description.weight
    if description.kind == "pairs":
        return PictureFolder(name, weight, pairs, read_binary_mask, whole_mask)
    ignored = description.ignored_labels
    find = partial(objects, ignored_labels=ignored)
    return PictureFolder(name, weight, pairs, partial(_checked_label_map, ignored), find)


def _checked_label_map(ignored_labels: tuple[int, ...], path: Path) -> NDArray[Any]:
    labels = read_label_map(path)
    check_void(labels, ignored_labels, path)
    return labels


def whole_mask(mask: Mask) -> list[Mask]:
    """All that is white as one object, as in the paper's data sets, even where another lies across it."""
    return [mask] if int(mask.sum()) >= MIN_OBJECT_PX else []
