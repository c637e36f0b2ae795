"""Fixtures for the runtime's tests: a tiny bundle and a picture for it."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_cuda import FakeDriver, FakeGpu, FakeRuntime
from fake_tensorrt import FakeTensorRt, with_engines
from PIL import Image
from tiny_bundle import IMAGE_SIZE, write_bundle

from glesam_runtime import Bundle
from glesam_runtime.engines import cuda
from glesam_runtime.engines.tensorrt import choice, context
from glesam_runtime.preprocess import Pixels

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a bundle that tests must not change."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def own_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """Returns a copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundle_path, tmp_path / "own"))


@pytest.fixture
def image() -> Pixels:
    """Returns uint8 [96,128,3], wider than high, so that padding and scale matter."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.fixture
def photo(image: Pixels, tmp_path: Path) -> Path:
    """Returns the path of the picture as a file."""
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture(scope="session")
def sam() -> Sam:
    """SAM's own preprocessing and postprocessing at S = 64; its networks are never run.

    The package's __init__ imports torchvision, which this project does not need, so the package
    is created from its spec without executing it.
    """
    import torch  # the runtime's other tests run without it

    spec = importlib.util.find_spec("segment_anything")
    assert spec is not None
    sys.modules.setdefault("segment_anything", importlib.util.module_from_spec(spec))
    modeling = importlib.import_module("segment_anything.modeling")
    encoder = torch.nn.Module()
    encoder.img_size = IMAGE_SIZE
    return modeling.Sam(encoder, torch.nn.Module(), torch.nn.Module())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """Yields a fake GPU, which must be empty in the end and never have been misused."""
    gpu = FakeGpu()
    monkeypatch.setattr(cuda, "runtime", FakeRuntime(gpu))
    monkeypatch.setattr(context, "driver", FakeDriver(gpu))
    yield gpu
    if any(gpu.live().values()):
        gc.collect()  # an error's traceback may hold an engine; half a second with torch loaded
    assert gpu.violations == []
    assert not any(gpu.live().values()), gpu.live()


@pytest.fixture
def tensorrt(gpu: FakeGpu) -> FakeTensorRt:
    """Returns a fake TensorRT on that GPU."""
    return FakeTensorRt(gpu)


@pytest.fixture
def cached(
    bundle_path: Path, gpu: FakeGpu, tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    """Returns a bundle whose engines, of the fake TensorRT, are in the cache."""
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "load_library", lambda backend: tensorrt._library)
    return with_engines(Bundle.open(bundle_path), tensorrt)
