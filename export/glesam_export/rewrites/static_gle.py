"""GLE with its timestep and text context as constants: what the folds start from and return.

`StaticGle` computes exactly what `glesam.gle.Gle` does,

    z_hat = skip_scale z - output_scale unet(input_scale z),

and every fold takes one and returns another that computes the same with less. A fold never changes
the model that it reads: it works on `shared_copy`, which has its own modules but the same tensors.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, TypeVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from glesam.gle import Gle

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def shared_copy(module: ModuleT) -> ModuleT:
    """A copy with modules of its own that shares every parameter and buffer (no second set of weights)."""
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def constant(tensor: Tensor) -> nn.Parameter:
    """A weight of a graph, computed from a model's; it needs no gradient."""
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)


class StaticUNet(nn.Module):
    """diffusers' U-Net for one timestep and one text context: [B, 256, h, w] -> [B, 256, h, w].

    `time_embedding` [1, D] and `context` [1, L, C] are None once they are folded away.
    """

    time_embedding: Tensor | None
    context: Tensor | None

    def __init__(self, unet: UNet2DConditionModel, timestep: int, context: Tensor) -> None:
        super().__init__()
        parts: Any = unet
        self.conv_in = parts.conv_in
        self.down_blocks = parts.down_blocks
        self.mid_block = parts.mid_block
        self.up_blocks = parts.up_blocks
        self.conv_norm_out = parts.conv_norm_out
        self.conv_act = parts.conv_act
        self.conv_out = parts.conv_out
        with torch.no_grad():
            frequencies = parts.time_proj(torch.tensor([timestep])).to(context.dtype)
            embedding = parts.time_embedding(frequencies)
        self.register_buffer("time_embedding", embedding)
        self.register_buffer("context", context)

    def forward(self, x: Tensor) -> Tensor:
        context = self.context
        if context is not None:
            context = context.expand(len(x), -1, -1)
        x = self.conv_in(x)
        skips: tuple[Tensor, ...] = (x,)
        for block in self.down_blocks:
            x, added = block(x, self.time_embedding, **_context_of(block, context))
            skips += added
        x = self.mid_block(x, self.time_embedding, **_context_of(self.mid_block, context))
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, used = skips[:-count], skips[-count:]
            x = block(x, used, self.time_embedding, **_context_of(block, context))
        out: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return out


def _context_of(block: nn.Module, context: Tensor | None) -> dict[str, Tensor | None]:
    """The keyword argument of a block with cross-attention; other blocks take none."""
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class StaticGle(nn.Module):
    """Image embeddings [B, 256, h, w] -> enhanced image embeddings [B, 256, h, w]."""

    def __init__(self, unet: StaticUNet, input_scale: float, output_scale: float, skip_scale: float) -> None:
        super().__init__()
        self.unet = unet
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.skip_scale = skip_scale

    def forward(self, image_embeddings: Tensor) -> Tensor:
        scaled = image_embeddings if self.input_scale == 1 else self.input_scale * image_embeddings
        noise: Tensor = self.unet(scaled)
        correction = noise if self.output_scale == 1 else self.output_scale * noise
        return self.skip_scale * image_embeddings - correction


def static_gle(gle: Gle) -> StaticGle:
    """GLE with its constants in place and nothing folded; shares the model's tensors."""
    unet = StaticUNet(shared_copy(gle.unet), gle.config.timestep, gle.get_buffer("text_embedding"))
    return StaticGle(unet, gle.gamma, gle.noise_scale, gle.skip_scale)
