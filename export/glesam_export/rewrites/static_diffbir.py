"""DiffBIR's parts in operators that every runtime has; each computes what the original computes."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from glesam.restorers.diffbir import Denoiser
from glesam_export.folds.text_context import ConstantContextAttention
from glesam_export.rewrites.chunked_attention import ChunkedAttention
from glesam_export.rewrites.static_gle import ModuleT, shared_copy


def static_denoiser(denoiser: Denoiser) -> Denoiser:
    """A copy, sharing its tensors, in which the two text contexts' keys and values are constants."""
    copy = shared_copy(denoiser)
    contexts = copy.get_buffer("contexts")
    for block in copy.modules():
        if isinstance(block, BasicTransformerBlock):
            block.attn1 = ChunkedAttention(block.attn1)
            block.attn2 = ConstantContextAttention(block.attn2, contexts)
    return copy


def static_vae(part: ModuleT) -> ModuleT:
    """A copy of the VAE's encoder or decoder, sharing its tensors, with `SpatialAttention` in its middle."""
    copy = shared_copy(part)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Attention):
                setattr(parent, name, SpatialAttention(child))
    return copy


class SpatialAttention(ChunkedAttention):
    """diffusers' self-attention over the positions of [B, C, H, W], with its norm and residual."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - diffusers' Attention
        super().__init__(attention)
        self.group_norm = attention.group_norm

    def forward(self, hidden_states: Tensor, temb: None = None) -> Tensor:  # type: ignore[override]
        """The signature that diffusers' middle block calls; there is no time embedding."""
        tokens = self.group_norm(hidden_states).flatten(2).transpose(1, 2)
        attended = super().forward(tokens).transpose(1, 2)
        return hidden_states + attended.reshape(hidden_states.shape)


def static_stage1(stage1: nn.Module) -> nn.Module:
    """A copy, sharing its tensors, whose LeakyReLUs are maxima: bundles have no LeakyRelu."""
    copy = shared_copy(stage1)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LeakyReLU):
                setattr(parent, name, LargerOf(child.negative_slope))
    return copy


class LargerOf(nn.Module):
    """max(x, slope x), which is LeakyReLU for a slope in [0, 1]."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.slope * x)
