"""Tiny models in which everything that a fold or a precision could get wrong is switched on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from glesam.config import GleSamConfig, LiteEncoderConfig, PromptMapDecoderConfig, nano, tiny, tiny_sam2
from glesam.model import GleSam

Style = Literal["sd15", "sd21"]
STYLES: tuple[Style, ...] = ("sd15", "sd21")
NARROW_ENCODER = LiteEncoderConfig(attention_blocks=1, mixers=2, mixer_channels=16)
NARROW_DECODER = PromptMapDecoderConfig(
    coarse=16, middle=8, keys=12, fine=8, edges=4, heads=2, dilations=(1, 2), middle_blocks=1, shared_layers=1
)


def random_model(style: Style, seed: int = 0, image_size: int | None = None, **gle: object) -> GleSam:
    """LoRA's B, the text context, biases, norms and positions start as constants: not here.

    `gle`: changes of GLE's configuration.
    """
    torch.manual_seed(seed)
    config = tiny(style)
    if image_size is not None:
        config = replace(config, sam=replace(config.sam, image_size=image_size))
    model = GleSam(replace(config, gle=replace(config.gle, **gle))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or name.endswith("pos_embed"):
                parameter.normal_(std=0.1)
            elif parameter.dim() == 1 or "rel_pos" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.gle.get_buffer("text_embedding").normal_()
        if (head := model.gle.level_head) is not None:
            head.level.weight.normal_(std=0.1)
            head.level.bias.fill_(1.5)  # most levels lie between the bounds
    return model.requires_grad_(False)


def randomize_norms(module: nn.Module) -> None:
    """Gives batch norms statistics and weights that are not those of their start."""
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.uniform_(0.2, 0.8)
                norm.bias.normal_(std=0.2)
                norm.running_mean.normal_(std=0.3)
                norm.running_var.uniform_(0.5, 2.0)


def random_sam2(seed: int = 0) -> GleSam:
    """A SAM 2 in which no layer is left at its start."""
    torch.manual_seed(seed)
    model = GleSam(tiny_sam2()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or not parameter.any():
                parameter.normal_(std=0.1)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.gle.get_buffer("text_embedding").normal_()
    return model.requires_grad_(False)


def random_nano(seed: int = 0, lora_rank: int = 4) -> GleSam:
    """A model of nano's networks at 64 px, narrow but for its backbone; no layer is left at its start."""
    torch.manual_seed(seed)
    sam = replace(nano().sam, image_size=64, encoder=NARROW_ENCODER, decoder=NARROW_DECODER)
    gle = replace(tiny("sd21").gle, lora_rank=lora_rank, channel_expansion=False)
    model = GleSam(GleSamConfig("narrow-nano", sam, gle)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or not parameter.any():
                parameter.normal_(std=0.1)
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for name, buffer in model.image_encoder.named_buffers():
            if name.endswith("scale"):
                buffer.uniform_(0.5, 1.5)
        model.gle.get_buffer("text_embedding").normal_()
    return model.requires_grad_(False)


MODELS: dict[str, Callable[[], GleSam]] = {
    "sd21": lambda: random_model("sd21"),
    "adaptive": lambda: random_model("sd21", adaptive=True, timestep=200),
    "nano": random_nano,
}
"""Models whose graphs several files of tests share; a late timestep is one where a strength matters."""
