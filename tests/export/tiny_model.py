"""A tiny model in which everything that a fold or a precision could get wrong is switched on."""

from __future__ import annotations

from typing import Literal

import torch

from glesam.config import tiny
from glesam.model import GleSam

Style = Literal["sd15", "sd21"]
STYLES: tuple[Style, ...] = ("sd15", "sd21")


def random_model(style: Style, seed: int = 0) -> GleSam:
    """LoRA's B, the text context, biases, norms and relative positions start as constants: not here."""
    torch.manual_seed(seed)
    model = GleSam(tiny(style)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            elif parameter.dim() == 1 or "rel_pos" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.gle.get_buffer("text_embedding").normal_()
    return model.requires_grad_(False)
