"""GLE with its timestep and text context as constants: what the folds start from and return.

`StaticGle` computes exactly what `glesam.gle.Gle` does,

    z_hat = skip_scale z - output_scale unet(input_scale z),

and every fold takes one and returns another that computes the same with less. A fold never changes
the model that it reads: it works on `shared_copy`, which has its own modules but the same tensors.

An adaptive GLE has a timestep for every picture: `AdaptiveStaticGle` keeps the time embedding in the graph.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, TypeVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from glesam.auxiliary import AuxiliaryEncoder
from glesam.degradation_level import MOST_DEGRADED, DegradationHead
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

    `time_embedding` [1, D] and `context` [1, L, C] are None once they are folded away. An adaptive GLE gives
    `forward` the time embeddings of its pictures, [B, D].
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

    def forward(self, x: Tensor, time_embedding: Tensor | None = None) -> Tensor:
        time = self.time_embedding if time_embedding is None else time_embedding
        context = self.context
        if context is not None:
            context = context.expand(len(x), -1, -1)
        x = self.conv_in(x)
        skips: tuple[Tensor, ...] = (x,)
        for block in self.down_blocks:
            x, added = block(x, time, **_context_of(block, context))
            skips += added
        if self.mid_block is not None:
            x = self.mid_block(x, time, **_context_of(self.mid_block, context))
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, used = skips[:-count], skips[-count:]
            x = block(x, used, time, **_context_of(block, context))
        out: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return out


def _context_of(block: nn.Module, context: Tensor | None) -> dict[str, Tensor | None]:
    """The keyword argument of a block with cross-attention; other blocks take none."""
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class StaticGle(nn.Module):
    """Image embeddings [B, 256, h, w] -> enhanced image embeddings [B, 256, h, w].

    With an `auxiliary` encoder, the second input is its image, [B, 1, S, S].
    """

    def __init__(
        self,
        unet: StaticUNet,
        input_scale: float,
        output_scale: float,
        skip_scale: float,
        auxiliary: AuxiliaryEncoder | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.auxiliary = auxiliary
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.skip_scale = skip_scale

    def forward(self, image_embeddings: Tensor, auxiliary_image: Tensor | None = None) -> Tensor:
        return self.skip_scale * image_embeddings - self.correction(image_embeddings, auxiliary_image, None)

    def correction(
        self, image_embeddings: Tensor, auxiliary_image: Tensor | None, time_embedding: Tensor | None
    ) -> Tensor:
        """output_scale unet(input_scale (z + a)), [B, 256, h, w]."""
        seen = image_embeddings
        if self.auxiliary is not None and auxiliary_image is not None:
            seen = seen + self.auxiliary(auxiliary_image)
        scaled = seen if self.input_scale == 1 else self.input_scale * seen
        noise: Tensor = self.unet(scaled, time_embedding)
        return noise if self.output_scale == 1 else self.output_scale * noise


class LevelEmbedding(nn.Module):
    """Image embeddings [B, 256, h, w] -> degradation levels [B], and the time embeddings of these [B, D]."""

    def __init__(self, head: DegradationHead, unet: UNet2DConditionModel, timestep: int) -> None:
        super().__init__()
        parts: Any = unet
        self.level_head = head
        self.time_proj, self.time_embedding = parts.time_proj, parts.time_embedding
        self.timestep = timestep

    def forward(self, image_embeddings: Tensor) -> tuple[Tensor, Tensor]:
        level = self.level_head(image_embeddings)
        frequencies = self.time_proj(level / MOST_DEGRADED * self.timestep)
        return level, self.time_embedding(frequencies.to(image_embeddings.dtype))


class AdaptiveStaticGle(StaticGle):
    """As `StaticGle`, but the step follows the picture's degradation level, the second output [B]."""

    def __init__(self, static: StaticGle, levels: LevelEmbedding) -> None:
        scales = static.input_scale, static.output_scale, static.skip_scale
        super().__init__(static.unet, *scales, static.auxiliary)
        self.levels = levels
        self.unet.time_embedding = None

    def forward(  # type: ignore[override]
        self, image_embeddings: Tensor, auxiliary_image: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        level, time_embedding = self.levels(image_embeddings)
        correction = self.correction(image_embeddings, auxiliary_image, time_embedding)
        change = (self.skip_scale - 1) * image_embeddings - correction
        return image_embeddings + (level / MOST_DEGRADED)[:, None, None, None] * change, level


def static_gle(gle: Gle) -> StaticGle:
    """GLE with its constants in place and nothing folded; shares the model's tensors."""
    copy_of_unet = shared_copy(gle.unet)
    unet = StaticUNet(copy_of_unet, gle.config.timestep, gle.get_buffer("text_embedding"))
    auxiliary = None if gle.auxiliary is None else shared_copy(gle.auxiliary)
    static = StaticGle(unet, gle.gamma, gle.noise_scale, gle.skip_scale, auxiliary)
    if gle.level_head is None:
        return static
    head = shared_copy(gle.level_head)
    return AdaptiveStaticGle(static, LevelEmbedding(head, copy_of_unet, gle.config.timestep))
