"""A tiny RobustSAM with random weights, and what its tests feed it, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from harness.original_robust_sam import random_model
from torch import Tensor

from glesam.config import RobustDecoderConfig, RobustSamConfig, VitEncoderConfig, tiny
from glesam.restorers.robust_sam import RobustSam

EARLY_OF_FOUR = VitEncoderConfig(32, depth=4, num_heads=2, global_attn_indexes=(1, 3), window_size=3)
CONFIG = RobustSamConfig(
    "tiny-robustsam", replace(tiny().sam, encoder=EARLY_OF_FOUR, decoder=RobustDecoderConfig(64))
)
"""Two global blocks, of which RobustSAM reads the first."""


def tiny_robust_sam() -> RobustSam:
    """In float32, as it is loaded from a file."""
    return random_model(CONFIG)


def in_float64(model: Any) -> Any:  # noqa: ANN401
    """The model in float64, SAM's positional encoding included, which is float32 by decree."""
    layer = model.double().prompt_encoder.pe_layer
    encode = layer._pe_encoding
    layer._pe_encoding = lambda coords: encode(coords.double())
    return model


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-10


def picture() -> Tensor:
    return torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def prompts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three boxes; the second has a mask input too."""
    corners = [[[4, 8], [50, 33]], [[0, 0], [64, 64]], [[20, 11], [31, 60]]]
    masks = 4 * torch.randn(3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([[2, 3]] * 3, dtype=torch.int32)
    return torch.tensor(corners).double(), labels, masks, torch.tensor([0, 1, 0]).double()
