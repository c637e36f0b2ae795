"""The mask decoders that are exported, SAM's and nano's, compute `glesam.decoding.decode`, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_model import NARROW_DECODER
from torch import Tensor, nn

from glesam.config import (
    DecoderConfig,
    HighResDecoderConfig,
    NoMemEmbed,
    SamConfig,
    TwoWayDecoderConfig,
    nano,
    official,
    tiny,
    tiny_sam2,
)
from glesam.decoding import ImageFeatures, decode
from glesam.sam import build_mask_decoder, build_prompt_encoder
from glesam_export.graphs import DECODER_GRAPHS
from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING

SIDE, MASK_SIDE = 4, 16
PROMPTS = {
    "box": [(3.0, 5.0, BOX_TOP_LEFT), (50.0, 41.0, BOX_BOTTOM_RIGHT)],
    "points": [(20.0, 30.0, FOREGROUND), (60.0, 2.0, BACKGROUND), (0.0, 0.0, PADDING)],
    "box and points": [
        (3.0, 5.0, BOX_TOP_LEFT),
        (50.0, 41.0, BOX_BOTTOM_RIGHT),
        *[(9.0 + i, 8.0 + i, FOREGROUND) for i in range(10)],
    ],
}
"""(x, y, label) of each point; with the last there are more tokens than channels a head."""


def parts(sam: SamConfig) -> tuple[Any, Any]:
    """Prompt encoder and mask decoder with random weights: nothing that starts at zero or one stays there."""
    torch.manual_seed(0)
    built = build_prompt_encoder(sam), build_mask_decoder(sam)
    with torch.no_grad():
        for part in built:
            part.double().eval().requires_grad_(False)
            for parameter in part.parameters():
                if parameter.ndim == 1 or not parameter.any():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        if not isinstance(sam.decoder, TwoWayDecoderConfig | HighResDecoderConfig):
            return built
        # SAM computes the image tokens' places in float32, whatever its weights are.
        places = torch.stack(torch.meshgrid(2 * [(torch.arange(SIDE) + 0.5) / SIDE], indexing="xy"), dim=-1)
        encoding = built[0].pe_layer._pe_encoding(places.double()).permute(2, 0, 1)
        built[0].pe_layer.forward = lambda size: encoding
    return built


def exported(prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int) -> nn.Module:
    return DECODER_GRAPHS[type(mask_decoder)](prompt_encoder, mask_decoder, side, refinements).eval()


def feeds(kind: str, prompts: int, has_mask: list[float]) -> dict[str, Tensor]:
    """Each prompt a few pixels from the one before it."""
    points = torch.tensor(PROMPTS[kind], dtype=torch.float64)
    shift = 2.0 * torch.arange(prompts, dtype=torch.float64).reshape(-1, 1, 1)
    return {
        "image_embeddings": torch.randn(1, 256, SIDE, SIDE, dtype=torch.float64),
        "point_coords": points[None, :, :2] + shift,
        "point_labels": points[:, 2].to(torch.int32).expand(prompts, -1),
        "mask_input": 4 * torch.randn(prompts, 1, MASK_SIDE, MASK_SIDE, dtype=torch.float64),
        "has_mask_input": torch.tensor(has_mask, dtype=torch.float64),
    }


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("has_mask", [[0.0], [1.0], [0.0, 1.0, 0.0]])
@pytest.mark.parametrize("decoder", [TwoWayDecoderConfig(64), NARROW_DECODER])
@pytest.mark.parametrize("refinements", [0, 1, 2])
@torch.no_grad()
def test_it_is_exact(refinements: int, decoder: DecoderConfig, has_mask: list[float], kind: str) -> None:
    prompt_encoder, mask_decoder = parts(replace(tiny().sam, decoder=decoder))
    inputs = feeds(kind, len(has_mask), has_mask)
    expected = decode(prompt_encoder, mask_decoder, **inputs, refinements=refinements)
    outputs = exported(prompt_encoder, mask_decoder, SIDE, refinements)(**inputs)
    for one, other in zip(outputs, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max() / other.abs().max()) < 1e-11


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("has_mask", [[0.0], [0.0, 1.0, 0.0]])
@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
@pytest.mark.parametrize("delta", [0.05, 1.0])
@pytest.mark.parametrize("refinements", [0, 1])
@torch.no_grad()
def test_sam_2s_is_exact(
    refinements: int, delta: float, place: NoMemEmbed, has_mask: list[float], kind: str
) -> None:
    """With stable masks, and at the larger delta with unstable ones that are replaced."""
    sam = tiny_sam2(place).sam
    prompt_encoder, mask_decoder = parts(
        replace(sam, decoder=HighResDecoderConfig(64, stability_delta=delta))
    )
    inputs = feeds(kind, len(has_mask), has_mask)
    high_res = (torch.randn(1, 32, 16, 16).double(), torch.randn(1, 64, 8, 8).double())
    features = ImageFeatures(inputs.pop("image_embeddings"), high_res)
    expected = decode(prompt_encoder, mask_decoder, features, **inputs, refinements=refinements)
    graph = exported(prompt_encoder, mask_decoder, SIDE, refinements)
    outputs = graph(features.image_embeddings, *high_res, **inputs)
    for one, other in zip(outputs, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max() / other.abs().max()) < 1e-11


@pytest.mark.parametrize("part", ["v_proj.bias", "q_proj.bias", "out_proj.bias"])
@torch.no_grad()
def test_biases_matter_to_this_test(part: str) -> None:
    """All but the keys': softmax ignores what moves all scores of a query alike."""
    prompt_encoder, mask_decoder = parts(tiny().sam)
    inputs = feeds("box", 1, [0.0])
    before, _ = decode(prompt_encoder, mask_decoder, **inputs)
    for name, parameter in mask_decoder.named_parameters():
        if name.endswith(part) and "self_attn" not in name:
            parameter.zero_()
    after, _ = decode(prompt_encoder, mask_decoder, **inputs)
    assert float((after - before).abs().max()) > 1e-6


@pytest.mark.parametrize("sam", [official("vit_b", "sd15").sam, nano().sam], ids=["vit_b", "nano"])
def test_the_callers_decoder_is_not_changed_and_its_largest_weight_is_shared(sam: SamConfig) -> None:
    prompt_encoder, mask_decoder = build_prompt_encoder(sam), build_mask_decoder(sam)
    before = {name: tensor.clone() for name, tensor in mask_decoder.state_dict().items()}
    graph = exported(prompt_encoder, mask_decoder, sam.image_size // 16, sam.refinements)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mask_decoder.state_dict().items())
    largest = max(mask_decoder.parameters(), key=Tensor.numel)
    assert any(parameter is largest for parameter in graph.parameters())
