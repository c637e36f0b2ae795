"""nano's image encoder: EfficientNet-Lite, and a neck that joins its four strides in SAM's interface."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    interpolate,
    layer_norm,
    pixel_unshuffle,
    scaled_dot_product_attention,
)

from glesam.config import EMBEDDING_CHANNELS, LiteEncoderConfig
from glesam.nano.efficientnet_lite import EfficientNetLite
from glesam.sam_modules import LayerNorm2d


class NanoEncoder(nn.Module):
    """Image [B, 3, S, S], (RGB - 127) / 128 -> image embeddings [B, 256, S/16, S/16]; S is a multiple of 32.

    Strides 4 and 8 are rearranged to stride 16, so that edges survive, together with the mean colours of
    4 x 4 px. At stride 32, attention sees the whole image.
    """

    def __init__(self, config: LiteEncoderConfig) -> None:
        super().__init__()
        width = EMBEDDING_CHANNELS
        self.backbone = EfficientNetLite(config.variant)
        c4, c8, c16, c32 = self.backbone.channels
        self.detail = nn.Conv2d(16 * (c4 + 3) + 4 * c8, width, 1)
        self.lateral16 = nn.Conv2d(c16, width, 1)
        self.lateral32 = nn.Conv2d(c32, width, 1)
        self.attention = nn.Sequential(*(GlobalAttention(width) for _ in range(config.attention_blocks)))
        self.mixers = nn.Sequential(*(Mixer(width, config.mixer_channels) for _ in range(config.mixers)))
        self.last = nn.Sequential(ChannelNorm(width), nn.Conv2d(width, width, 1), ChannelNorm(width))

    def forward(self, image: Tensor) -> Tensor:
        s4, s8, s16, s32 = self.backbone(image)
        seen = torch.cat([s4, avg_pool2d(image, 4).to(s4.dtype)], 1)
        detail = self.detail(torch.cat([pixel_unshuffle(seen, 4), pixel_unshuffle(s8, 2)], 1))
        context = interpolate(self.attention(self.lateral32(s32)), scale_factor=2.0, mode="nearest")
        embeddings: Tensor = self.last(self.mixers(detail + self.lateral16(s16) + context))
        return embeddings


class GlobalAttention(nn.Module):
    """A pre-norm transformer block over all positions (Vaswani et al., 2017), [B, C, h, w] in and out.

    A new block is the identity.
    """

    def __init__(self, channels: int, heads: int = 4, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels), nn.ReLU(), nn.Linear(mlp_ratio * channels, channels)
        )
        for parameter in (*self.proj.parameters(), *self.mlp[2].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        tokens = tokens + self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        tokens = tokens + self.mlp(self.norm2(tokens))
        out: Tensor = tokens.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)
        return out


class ChannelNorm(LayerNorm2d):  # type: ignore[misc]  # segment-anything is untyped
    """SAM's LayerNorm2d, over the channels of [B, C, h, w], by torch's own kernel: faster in training."""

    def forward(self, x: Tensor) -> Tensor:
        last = layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        normed: Tensor = last.permute(0, 3, 1, 2)
        return normed


class Mixer(nn.Module):
    """x + f(x), [B, C, h, w]: norm, 1 x 1 convolution to `inner` channels, 3 x 3, 1 x 1 back.

    A new mixer is the identity.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.down = nn.Conv2d(channels, inner, 1)
        self.around = nn.Conv2d(inner, inner, 3, padding=1)
        self.up = nn.Conv2d(inner, channels, 1)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.up(self.around(self.down(self.norm(x)).relu()).relu())
        return out
