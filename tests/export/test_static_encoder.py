"""The encoder that is exported computes what SAM's computes, in float64 (nano's: test_nano_graphs.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from glesam.config import VitEncoderConfig, tiny
from glesam.sam import build_image_encoder
from glesam_export.rewrites.static_encoder import StaticBlock, static_encoder

TINY = tiny().sam.encoder
assert isinstance(TINY, VitEncoderConfig)


def vit(config: VitEncoderConfig) -> nn.Module:
    """Random weights, relative positions and biases included: SAM's start as zeros."""
    torch.manual_seed(0)
    encoder = build_image_encoder(config, 64).double().eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name or name.endswith("bias"):
                parameter.normal_(std=0.5)
    return encoder


@pytest.mark.parametrize(
    "config",
    [
        TINY,  # windows of 3 in 4 x 4 tokens: one row and two columns of padding too many
        replace(TINY, window_size=2),  # windows that fit
        replace(TINY, window_size=14),  # one window, larger than the picture
        replace(TINY, embed_dim=40, num_heads=2),  # a scale that is no power of two, like ViT-H's
        replace(TINY, depth=3, global_attn_indexes=(0, 2)),
    ],
)
@torch.no_grad()
def test_it_is_exact(config: VitEncoderConfig) -> None:
    encoder = vit(config)
    static = static_encoder(encoder, side=4)
    assert sum(isinstance(m, StaticBlock) for m in static.modules()) == config.depth
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = encoder(images)
    assert float((static(images) - expected).abs().max() / expected.abs().max()) < 1e-12


@torch.no_grad()
def test_relative_positions_matter_to_this_test() -> None:
    encoder, without = vit(TINY), vit(TINY)
    for name, parameter in without.named_parameters():
        if "rel_pos" in name:
            parameter.zero_()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    assert float((encoder(image) - without(image)).abs().max()) > 1e-3


def test_the_callers_encoder_is_not_changed_and_its_tensors_are_shared() -> None:
    encoder = vit(TINY)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    static = static_encoder(encoder, side=4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert static.get_parameter("blocks.0.mlp.lin1.weight") is encoder.get_parameter(
        "blocks.0.mlp.lin1.weight"
    )
