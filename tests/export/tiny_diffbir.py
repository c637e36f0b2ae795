"""A tiny DiffBIR whose weights follow from its official names, and what its tests feed it, in float64."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tiny_text_encoder import save_clip
from torch import Tensor

from glesam.official.diffbir import Part, parts_of
from glesam.restorers.diffbir import DiffBir, tiny_diffbir

DATA = Path(__file__).parents[1] / "data"
ORIGINAL: dict[str, Any] = json.loads((DATA / "diffbir_golden.json").read_text())
"""What the authors' code (DiffBIR at 3f8b530) computes in float64 from these weights and inputs."""
NETWORKS = ("stage1", "controlnet", "unet", "vae")
"""The networks in the order of `parts_of`, by their names in tests/data."""
BASE = "v2-1_512-ema-pruned"
STEMS = dict(zip(NETWORKS, ("BSRNet", "v2", BASE, BASE), strict=True))
"""The official file of each network."""


def weights_of(network: str, part: Part) -> dict[str, Tensor]:
    """Weights that follow from the names, in the official file's names and shapes, float64."""
    named = part.expected()
    return {
        name: torch.from_numpy(_values(f"{network}.{name.removeprefix(part.prefix)}", tuple(tensor.shape)))
        for name, tensor in named.items()
    }


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return values / np.sqrt(np.prod(shape[1:]))
    return 0.1 * values + (1.0 if name.endswith("weight") else 0.0)


def built() -> DiffBir:
    """In float64."""
    model = DiffBir(tiny_diffbir()).double().eval().requires_grad_(False)
    for network, part in zip(NETWORKS, parts_of(model), strict=True):
        part.load(Path(network), weights_of(network, part))
    model.denoiser.register_buffer("contexts", normal(5, 2, 7, 24))
    return model


def official_tensors() -> dict[str, dict[str, Tensor]]:
    """The content of each official file, float32, by its stem."""
    contents: dict[str, dict[str, Tensor]] = {stem: {} for stem in STEMS.values()}
    for network, part in zip(NETWORKS, parts_of(built()), strict=True):
        contents[STEMS[network]] |= {name: t.float() for name, t in weights_of(network, part).items()}
    return contents


def write_official_files(root: Path) -> Path:
    """Writes the files of a tiny DiffBIR, with a text encoder of its width, and returns their folder."""
    tensors = official_tensors()
    save_clip(root)
    for stem in ("BSRNet", "v2"):
        torch.save(tensors[stem], root / f"{stem}.pth")
    text = {"cond_stage_model.model.ln_final.weight": torch.ones(3)}
    save_file(tensors[BASE] | text, root / f"{BASE}.safetensors")
    return root


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).random_sample(shape))


def assert_original(name: str, actual: Tensor | np.ndarray, relative: float = 1e-9) -> None:
    """`actual` is what the authors' code computes, at every n-th element."""
    expected = ORIGINAL[name]
    assert list(actual.shape) == expected["shape"]
    values = np.asarray(actual).reshape(-1)[:: expected["every"]]
    scale = np.abs(expected["values"]).max()
    assert np.abs(values - expected["values"]).max() < relative * scale
