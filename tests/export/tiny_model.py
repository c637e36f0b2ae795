"""A tiny model in which everything that a fold or a precision could get wrong is switched on."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from glesam.config import ConvEncoderConfig, GuidedDecoderConfig, tiny
from glesam.model import GleSam

Style = Literal["sd15", "sd21"]
STYLES: tuple[Style, ...] = ("sd15", "sd21")


def random_model(style: Style, seed: int = 0, image_size: int | None = None) -> GleSam:
    """LoRA's B, the text context, biases, norms and positions start as constants: not here."""
    torch.manual_seed(seed)
    config = tiny(style)
    if image_size is not None:
        config = replace(config, sam=replace(config.sam, image_size=image_size))
    model = GleSam(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or name.endswith("pos_embed"):
                parameter.normal_(std=0.1)
            elif parameter.dim() == 1 or "rel_pos" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.gle.get_buffer("text_embedding").normal_()
    return model.requires_grad_(False)


def guided_model() -> GleSam:
    """A model like nano: no weight is zero, and batch norms do something."""
    torch.manual_seed(0)
    config, encoder = tiny(), ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1), 1)
    sam = replace(config.sam, encoder=encoder, decoder=GuidedDecoderConfig(64), refinements=1)
    model = GleSam(replace(config, sam=sam)).eval()
    for module in model.mask_decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.requires_grad_(False)
