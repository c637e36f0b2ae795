"""The model inside the package is what its card and the bundle's manifest say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from glesam.config import NUM_MASKS, GleSamConfig, nano
from glesam.model import CONFIG_FILE, WEIGHTS_FILE, shipped_checkpoint
from glesam_runtime import Bundle
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.engines import open_engines
from glesam_runtime.preprocess import preprocess

CHECKPOINT = shipped_checkpoint()


def test_the_weights_are_fp16_and_at_most_25_mib() -> None:
    path = CHECKPOINT / WEIGHTS_FILE
    assert path.stat().st_size <= 25 * 2**20
    with safe_open(path, "numpy") as file:
        dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
    assert dtypes <= {"F16", "I64"}  # I64: batch norm's counters


def test_the_configuration_is_the_one_in_the_code() -> None:
    assert GleSamConfig.from_json((CHECKPOINT / CONFIG_FILE).read_text()) == nano()


def test_gle_and_every_mask_have_learned_something() -> None:
    """GLE begins with a last convolution of zeros; a mask that was never trained keeps small kernels."""
    with safe_open(CHECKPOINT / WEIGHTS_FILE, "numpy") as file:
        last = file.get_tensor("gle.unet.conv_out.weight")
        kernels = file.get_tensor("mask_decoder.kernels.weight").astype(np.float32)
    assert np.abs(last).max() > 0
    norms = np.linalg.norm(kernels.reshape(NUM_MASKS, -1), axis=1)
    assert norms.min() > norms.max() / 10


def test_the_bundle_was_made_from_this_checkpoint_and_passed_its_gate() -> None:
    manifest = Bundle.open().manifest
    made_from: dict = manifest.made_from["checkpoint"]  # type: ignore[assignment, type-arg]
    assert made_from == {name: sha256_of(CHECKPOINT / name) for name in (CONFIG_FILE, WEIGHTS_FILE)}
    parity: dict = manifest.parity["mask_iou"]  # type: ignore[assignment, type-arg]
    assert set(parity) == {"clean", "lq3"}
    assert all(measured["mean"] >= 0.99 for measured in parity.values())


@pytest.mark.parametrize("index", [0, 1])
def test_the_golden_vectors_hold_here_without_torch(index: int) -> None:
    bundle = Bundle.open()
    golden = np.load(Path(bundle.root) / f"golden/{index}.npz", allow_pickle=False)
    manifest = bundle.manifest
    engines = open_engines("onnxruntime", bundle)
    image, _ = preprocess(golden["image"], manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
    embeddings = engines["image_encoder"]({"image": image})["image_embeddings"]
    enhanced = engines["gle"]({"image_embeddings": embeddings})["image_embeddings_enhanced"]
    count, side = len(golden["point_labels"]), manifest.image_size // 4
    prompts = {"point_coords": golden["point_coords"], "point_labels": golden["point_labels"]}
    no_mask = {
        "mask_input": np.zeros((count, 1, side, side), np.float32),
        "has_mask_input": np.zeros(count, np.float32),
    }
    masks = engines["mask_decoder"]({"image_embeddings": enhanced, **prompts, **no_mask})
    actual = {"image_embeddings": embeddings, "image_embeddings_enhanced": enhanced, **masks}
    for name, values in actual.items():
        error = np.linalg.norm(values - golden[name]) / np.linalg.norm(golden[name])
        assert error < 0.01, name
