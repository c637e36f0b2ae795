"""Fixtures for the model's and the training's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_training import fresh_accelerate

from glesam.config import tiny
from glesam.data.batches import SamplePool
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.model import GleSam

torch.set_num_threads(1)

TRAIN_SETS = ("bsds500", "ccp", "camvid", "human", "bags")


@pytest.fixture
def model() -> GleSam:
    """Tiny, with random weights."""
    torch.manual_seed(0)
    return GleSam(tiny()).eval()


def write_pair(folder: Path, stem: str, rng: np.random.Generator) -> None:
    """A noisy picture of two rectangles and its label map, 96 x 80."""
    labels = np.zeros((80, 96), np.uint8)
    labels[10:50, 8:48] = 1
    labels[30:76, 52:90] = 2
    image = np.array([40, 120, 210], np.uint8)[labels][..., None] + rng.integers(0, 30, (80, 96, 3), np.uint8)
    assert cv2.imwrite(str(folder / f"{stem}.jpg"), image)
    assert cv2.imwrite(str(folder / f"{stem}.png"), labels)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per training set; camvid's stems are frames of four sequences."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in TRAIN_SETS:
        (root / name).mkdir()
        sequences = ("0001TP", "0006R0", "0016E5", "Seq05VD")
        frames = [f"{s}_{frame:05}" for s in sequences for frame in range(3)]
        stems = frames if name == "camvid" else [f"picture{i}" for i in range(12)]
        for stem in stems:
            write_pair(root / name, stem, rng)
    return root


@pytest.fixture(scope="session")
def pool(data: Path) -> SamplePool:
    return SamplePool(in_memory(load_datasets(data)))


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """For tests that make an Accelerator of their own precision."""
    with fresh_accelerate():
        yield
