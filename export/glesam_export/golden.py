"""Golden vectors: a few inputs and PyTorch's fp32 outputs, so that a target can prove parity alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glesam_export.parity import ImageSets, fixed_prompts
from glesam_runtime.engines.base import Array
from glesam_runtime.manifest import Manifest
from glesam_runtime.predictor import Engines
from glesam_runtime.preprocess import Pixels, preprocess
from glesam_runtime.prompts import encode_prompts

FOLDER = "golden"
PROMPTS = slice(0, 6, 3)
"""Of the fixed prompts: the first box and the first point."""


def write_golden(folder: Path, manifest: Manifest, reference: Engines, images: ImageSets) -> None:
    """Writes golden/<i>.npz: one picture of each set, in the order of the sets (docs/bundle.md)."""
    (folder / FOLDER).mkdir()
    for index, pictures in enumerate(images.values()):
        vectors = golden_vectors(manifest, reference, pictures[index % len(pictures)])
        np.savez_compressed(folder / FOLDER / f"{index}.npz", **vectors)  # type: ignore[arg-type]


def golden_vectors(manifest: Manifest, reference: Engines, picture: Pixels) -> dict[str, Array]:
    image, geometry = preprocess(picture, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
    assert reference.gle is not None
    embeddings = reference.image_encoder({"image": image})["image_embeddings"]
    enhanced = reference.gle({"image_embeddings": embeddings})["image_embeddings_enhanced"]
    prompts = encode_prompts(fixed_prompts(picture)[PROMPTS], geometry)
    masks = reference.mask_decoder({"image_embeddings": enhanced, **prompts})
    return {
        "image": picture,
        "point_coords": prompts["point_coords"],
        "point_labels": prompts["point_labels"],
        "image_embeddings": embeddings,
        "image_embeddings_enhanced": enhanced,
        **masks,
    }
