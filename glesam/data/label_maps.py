"""Folders of `stem.jpg` with a label map `stem.png`, and the promptable objects in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

MIN_OBJECT_PX = 400
"""Smaller connected parts (in pixels of the stored image) are not worth a prompt."""
MAX_LABEL = 255
DEV_SHARE = 10
"""One stem in this many belongs to the development split."""


@dataclass(frozen=True)
class DatasetDescription:
    """How to read one folder of label maps.

    `ignored_labels` are never objects (background, "ignore"). `dev_sequences` are the video sequences of
    the development split, found in the stem; without it every tenth stem, by hash, is taken.
    """

    name: str
    ignored_labels: tuple[int, ...] = (0,)
    dev_sequences: tuple[str, ...] = ()
    weight: float = 1.0

    def is_dev(self, stem: str) -> bool:
        if self.dev_sequences:
            return any(sequence in stem for sequence in self.dev_sequences)
        return int(hashlib.sha256(f"{self.name}/{stem}".encode()).hexdigest(), 16) % DEV_SHARE == 0


TRAIN_SETS = (
    DatasetDescription("bsds500", weight=0.35),
    DatasetDescription("ccp", weight=0.2),
    DatasetDescription(
        "camvid", ignored_labels=(11,), dev_sequences=("0006R0", "0016E5", "Seq05VD"), weight=0.15
    ),
    DatasetDescription("human", weight=0.15),
    DatasetDescription("bags", weight=0.15),
)
"""The sets of `nano`. Frames of one camvid sequence resemble each other, so whole sequences are split off;
of its daytime part that is every one, and the first nano has not been trained on it."""


@dataclass(frozen=True)
class Sample:
    """One picture: `image` uint8 [H, W, 3] RGB and `labels` uint8 [H, W]."""

    description: DatasetDescription
    stem: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def load_samples(root: Path, descriptions: tuple[DatasetDescription, ...], *, dev: bool) -> Iterator[Sample]:
    """Yields the training or the development split of every described set, in sorted order.

    Raises:
        FileNotFoundError: a set's folder is missing or holds no picture.
        ValueError: a picture has no label map of its own size.
    """
    for description in descriptions:
        folder = root / description.name
        paths = sorted(folder.glob("*.jpg"))
        if not paths:
            raise FileNotFoundError(f"no *.jpg in {folder}; expected image and label pairs there")
        for path in paths:
            if description.is_dev(path.stem) is dev:
                yield read_sample(path, description)


def read_sample(path: Path, description: DatasetDescription) -> Sample:
    """Label maps of 16 bits and palettes are read as the numbers they hold."""
    try:
        image = np.asarray(Image.open(path).convert("RGB"))
        labels = np.asarray(Image.open(path.with_suffix(".png")))
    except OSError as error:
        raise ValueError(f"{path}: {error}; expected a picture with a .png label map") from error
    if image.shape[:2] != labels.shape or labels.max() > MAX_LABEL:
        raise ValueError(
            f"{path}: expected a label map [H, W] of the picture's size with labels up to {MAX_LABEL}, "
            f"found {list(labels.shape)} up to {labels.max()}"
        )
    return Sample(description, path.stem, image, labels.astype(np.uint8))


def objects(
    labels: NDArray[np.uint8], ignored_labels: tuple[int, ...], min_px: int = MIN_OBJECT_PX
) -> list[NDArray[np.bool_]]:
    """Connected parts of every label, largest first: bool [H, W] masks of at least `min_px` px."""
    masks: list[NDArray[np.bool_]] = []
    large_enough = np.flatnonzero(np.bincount(labels.ravel()) >= min_px)
    for label in np.setdiff1d(large_enough, ignored_labels):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        masks += [parts == i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= min_px]
    return sorted(masks, key=lambda mask: -int(mask.sum()))


def mask_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) of a mask, px; x1 and y1 are the first column and row after it."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
