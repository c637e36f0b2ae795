"""nano's encoder with its neck's channels last: the same function with fewer passes over the features.

Strides 4 and 8 reach stride 16 by strided convolutions instead of rearranged channels. Behind them the
features stay [B, h, w, C], as layer norms read them: 1 x 1 convolutions are products there, and only the few
channels inside a mixer are turned for its 3 x 3 convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, layer_norm

from glesam.nano.encoder import NanoEncoder
from glesam_export.rewrites.static_gle import constant


class ChannelsLastEncoder(nn.Module):
    """`glesam.nano.encoder.NanoEncoder`: image [B, 3, S, S] -> image embeddings [B, 256, S/16, S/16]."""

    def __init__(self, encoder: NanoEncoder) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        c4, c8, *_ = self.backbone.channels
        weight, channels4 = encoder.detail.weight.detach(), 16 * (c4 + 3)
        # pixel_unshuffle's channels are (channel, row, column), as a kernel's elements are.
        self.detail4 = constant(weight[:, :channels4].reshape(-1, c4 + 3, 4, 4))
        self.detail8 = constant(weight[:, channels4:].reshape(-1, c8, 2, 2))
        self.bias = encoder.detail.bias
        self.lateral16, self.lateral32 = encoder.lateral16, encoder.lateral32
        self.attention = encoder.attention
        self.mixers = nn.Sequential(*(ChannelsLastMixer(mixer) for mixer in encoder.mixers))
        norm, last, last_norm = encoder.last
        self.last = nn.Sequential(LastNorm(norm), Product(last), LastNorm(last_norm))

    def forward(self, image: Tensor) -> Tensor:
        s4, s8, s16, s32 = self.backbone(image)
        seen = torch.cat([s4, avg_pool2d(image, 4)], 1)
        detail = conv2d(seen, self.detail4, self.bias, 4) + conv2d(s8, self.detail8, None, 2)
        context = interpolate(self.attention(self.lateral32(s32)), scale_factor=2.0, mode="nearest")
        x = (detail + self.lateral16(s16) + context).permute(0, 2, 3, 1)
        out: Tensor = self.last(self.mixers(x))
        return out.permute(0, 3, 1, 2)


class ChannelsLastMixer(nn.Module):
    """`glesam.nano.encoder.Mixer` of [B, h, w, C]."""

    def __init__(self, mixer: Any) -> None:  # noqa: ANN401 - a child of nn.Sequential
        super().__init__()
        self.norm, self.down, self.up = LastNorm(mixer.norm), Product(mixer.down), Product(mixer.up)
        self.around = mixer.around

    def forward(self, x: Tensor) -> Tensor:
        inner = self.down(self.norm(x)).relu().permute(0, 3, 1, 2)
        around: Tensor = self.around(inner).relu()
        out: Tensor = x + self.up(around.permute(0, 2, 3, 1))
        return out


class LastNorm(nn.Module):
    """SAM's LayerNorm2d of [..., C]."""

    def __init__(self, norm: Any) -> None:  # noqa: ANN401 - a child of nn.Sequential
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Product(nn.Module):
    """A 1 x 1 convolution of [..., C]."""

    def __init__(self, conv: Any) -> None:  # noqa: ANN401 - a child of nn.Sequential
        super().__init__()
        assert conv.kernel_size == (1, 1)
        self.weight, self.bias = constant(conv.weight.flatten(1).T), conv.bias

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = x @ self.weight + self.bias
        return product
