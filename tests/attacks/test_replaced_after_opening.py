"""A file that is rewritten in place after the bundle was opened never computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_bundle import manifest, record, write_bundle, write_manifest

from glesam_runtime import Bundle, BundleError
from glesam_runtime.engines import open_engine

ENGINES = ("onnxruntime", "openvino")
EMBEDDINGS = np.ones((1, 256, 4, 4), np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Returns a bundle whose GLE multiplies by 1.5, with the half in a file beside the graph."""
    root = write_bundle(tmp_path / "bundle")
    model = onnx.load(root / "gle.onnx")
    onnx.save_model(
        model, root / "gle.onnx", save_as_external_data=True, location="gle.onnx.data", size_threshold=0
    )
    content = manifest(root)
    content["files"]["gle.onnx.data"] = record(root / "gle.onnx.data")
    write_manifest(root, content)
    return root


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes a file in place and restores its size and time."""
    times = os.stat(path)
    content = change(path.read_bytes())
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == times.st_mtime_ns
    assert os.stat(path).st_size == times.st_size


def enhanced(bundle: Bundle, engine: str) -> np.ndarray:
    opened = open_engine(engine, bundle.graph_content("gle"), bundle.manifest.graphs["gle"].spec)
    result: np.ndarray = opened({"image_embeddings": EMBEDDINGS})["image_embeddings_enhanced"]
    return result


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_beside_the_graph_are_read(bundle: Path, engine: str) -> None:
    np.testing.assert_array_equal(enhanced(Bundle.open(bundle), engine), 1.5 * EMBEDDINGS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["gle.onnx", "gle.onnx.data"])
def test_a_rewritten_file_is_refused(bundle: Path, engine: str, name: str) -> None:
    opened = Bundle.open(bundle)
    rewrite(bundle / name, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{name} was replaced after its hash was checked"):
        enhanced(opened, engine)


@pytest.mark.parametrize("name", ["gle.onnx", "gle.onnx.data"])
def test_a_file_rewritten_after_its_last_hash_is_not_read_or_refused(bundle: Path, name: str) -> None:
    content = Bundle.open(bundle).graph_content("gle")
    rewrite(bundle / name, lambda old: b"\0" * len(old))
    if name == "gle.onnx":
        onnx.load_model_from_string(content.model)
    else:
        with pytest.raises(BundleError, match="was replaced after its hash was checked"):
            content.check()


def test_a_second_name_of_the_weights_is_no_change(bundle: Path, tmp_path: Path) -> None:
    """Calibration links them beside the graphs that it makes."""
    opened = Bundle.open(bundle)
    os.link(bundle / "gle.onnx.data", tmp_path / "second")
    np.testing.assert_array_equal(enhanced(opened, "onnxruntime"), 1.5 * EMBEDDINGS)
