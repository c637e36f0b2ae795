"""Loads the data sets in a folder by their descriptions: label maps, pairs, COCO and LVIS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from glesam.data.coco import coco_instances
from glesam.data.descriptions import DatasetDescription, read_descriptions, shipped_descriptions
from glesam.data.picture_folders import find_pairs, picture_folder
from glesam.data.sample import Dataset, Sample
from glesam_runtime.errors import InputError

__all__ = ["Dataset", "Sample", "Split", "describe", "load_datasets"]

Split = Literal["train", "dev", "all"]

SETS_FILE = "sets.json"


def load_datasets(data: Path, sets: Path | None = None, split: Split = "train") -> list[Dataset]:
    """Loads one split of every data set in a folder, in the order of their descriptions; decodes nothing yet.

    Args:
        data: a folder of data sets, or the folder of one.
        sets: a JSON file of descriptions. Without one, see `describe`.
        split: "train" and "dev" never share a picture.

    Raises:
        OSError: a folder, file or mask is missing; the message names it.
        InputError: a description is invalid, or no data set has a picture in this split.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such folder; expected one of data sets, or of images and masks")
    described = describe(data) if sets is None else [(data, d) for d in read_descriptions(sets)]
    loaded = [_load(root, description, split) for root, description in described]
    kept = [dataset for dataset in loaded if len(dataset)]
    if not kept:
        raise InputError(f"{data}: no picture of its sets is in the split {split!r}; every tenth is in 'dev'")
    return kept


def describe(data: Path) -> list[tuple[Path, DatasetDescription]]:
    """Describes the data sets in a folder, each with the folder that its path starts from.

    The folder's own sets.json counts first. Otherwise the shipped descriptions apply where the folder holds
    folders of their names, or has such a name itself. Any other folder is one data set of images with masks.
    """
    if (data / SETS_FILE).exists():
        return [(data, description) for description in read_descriptions(data / SETS_FILE)]
    known = shipped_descriptions()
    if present := [(data, description) for description in known if (data / description.name).is_dir()]:
        return present
    name = data.resolve().name
    for description in known:
        if description.name == name:
            return [(data, replace(description, path="."))]
    return [(data, DatasetDescription(name, "pairs", path="."))]


def _load(data: Path, description: DatasetDescription, split: Split) -> Dataset:
    chosen = _chooser(description, split)
    if description.kind == "coco":
        dataset = coco_instances(data, description)
        return replace(dataset, images=[image for image in dataset.images if chosen(image.name)])
    pairs = find_pairs(description.folder(data), description)
    return picture_folder(description, [pair for pair in pairs if chosen(pair.name)])


def _chooser(description: DatasetDescription, split: Split) -> Callable[[str], bool]:
    if split == "all":
        return lambda name: True
    return lambda name: description.is_dev(name) is (split == "dev")
