"""Golden vectors: a few inputs and PyTorch's fp32 outputs, so that a target can prove parity alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glesam_runtime.bundle.spec import HIGH_RES
from glesam_runtime.engines.base import Array
from glesam_runtime.tools.golden import OPTIONAL_ARRAYS
from glesam_runtime.tools.measure import Case

FOLDER = "golden"
PROMPTS = slice(0, 6, 3)
"""The first box and the first point of the fixed prompts."""
PER_PROMPT = ("point_coords", "point_labels", "low_res_masks", "iou_predictions")


def write_golden(folder: Path, cases: Sequence[Case]) -> None:
    """Writes golden/<i>.npz: one picture of each set, in the order of the sets (docs/bundle.md)."""
    (folder / FOLDER).mkdir()
    for index, name in enumerate(dict.fromkeys(case.set_name for case in cases)):
        same_set = [case for case in cases if case.set_name == name]
        vectors = golden_vectors(same_set[index % len(same_set)])
        np.savez_compressed(folder / FOLDER / f"{index}.npz", **vectors)  # type: ignore[arg-type]


def golden_vectors(case: Case) -> dict[str, Array]:
    """The arrays of one golden file, by name."""
    known = case.prompts._asdict() | case.expected
    return {
        "image": case.picture,
        "image_embeddings": known["image_embeddings"],
        "image_embeddings_enhanced": known["image_embeddings_enhanced"],
        **{name: known[name] for name in HIGH_RES if name in known},
        **{name: known[name][PROMPTS] for name in PER_PROMPT},
        **{name: known[name] for name in OPTIONAL_ARRAYS if name in known},
    }
