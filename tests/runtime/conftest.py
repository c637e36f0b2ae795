"""Fixtures for the runtime's tests: a tiny bundle and a picture for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from glesam_runtime.preprocess import Pixels
from PIL import Image
from tiny_bundle import write_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to read; never change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def own_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to tamper with."""
    return Path(shutil.copytree(bundle_path, tmp_path / "own"))


@pytest.fixture
def image() -> Pixels:
    """uint8 [96,128,3]: wider than high, so that padding and scale matter."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.fixture
def photo(image: Pixels, tmp_path: Path) -> Path:
    """The picture as a file."""
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path
