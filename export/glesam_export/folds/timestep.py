"""The constant timestep: each resnet adds the same vector every time, so it becomes a bias."""

from __future__ import annotations

import torch
from diffusers.models.resnet import ResnetBlock2D
from peft.tuners.lora import LoraLayer
from torch import nn

from glesam_export.rewrites.static_gle import StaticGle, shared_copy
from glesam_runtime.errors import FoldError


def fold_timestep(gle: StaticGle) -> StaticGle:
    """conv1.bias += time_emb_proj(silu(time_embedding)); the time embedding and projections go."""
    embedding = gle.unet.time_embedding
    if embedding is None:
        raise FoldError("the timestep is folded already")
    folded = shared_copy(gle)
    for block in folded.unet.modules():
        if isinstance(block, ResnetBlock2D):
            _fold_resnet(block, embedding)
    folded.unet.time_embedding = None
    return folded


@torch.no_grad()
def _fold_resnet(block: ResnetBlock2D, embedding: torch.Tensor) -> None:
    if isinstance(block.conv1, LoraLayer):
        raise FoldError("expected plain convolutions, found LoRA layers; merge_lora comes first")
    shift = block.time_emb_proj(block.nonlinearity(embedding)).squeeze(0)
    block.conv1.bias = nn.Parameter(block.conv1.bias + shift, requires_grad=False)
    block.time_emb_proj = None
