"""nano's encoder with its neck's channels last: the same function with fewer passes over the features.

Strides 4 and 8 reach stride 16 by strided convolutions instead of rearranged channels. The image has one of
its own: its values are 50 times smaller than the features', and one int8 scale for both would erase them.
Behind them the features stay tokens [B, h w, C], as layer norms read them: 1 x 1 convolutions are products
there, and only the few channels inside a mixer are turned for its 3 x 3 convolution. Three dimensions, not
four: OpenVINO lays [B, h, w, C] out as if h were channels, and turns it back for every product.
"""

from __future__ import annotations

from typing import Any

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
        weight4 = weight[:, :channels4].reshape(-1, c4 + 3, 4, 4)
        self.detail4, self.detail_image = constant(weight4[:, :c4]), constant(weight4[:, c4:])
        self.detail8 = constant(weight[:, channels4:].reshape(-1, c8, 2, 2))
        self.bias = encoder.detail.bias
        self.lateral16, self.lateral32 = encoder.lateral16, encoder.lateral32
        self.attention = encoder.attention
        self.mixers = nn.ModuleList(ChannelsLastMixer(mixer) for mixer in encoder.mixers)
        norm, last, last_norm = encoder.last
        self.last = nn.Sequential(LastNorm(norm), Product(last), LastNorm(last_norm))

    def forward(self, image: Tensor) -> Tensor:
        s4, s8, s16, s32 = self.backbone(image)
        detail = conv2d(s4, self.detail4, self.bias, 4) + conv2d(s8, self.detail8, None, 2)
        detail = detail + conv2d(avg_pool2d(image, 4), self.detail_image, None, 4)
        context = interpolate(self.attention(self.lateral32(s32)), scale_factor=2.0, mode="nearest")
        x = detail + self.lateral16(s16) + context
        size = (x.shape[-2], x.shape[-1])
        tokens = as_tokens(x)
        for mixer in self.mixers:
            tokens = mixer(tokens, size)
        return as_map(self.last(tokens), size)


def as_tokens(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h w, C]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, h w, C] -> [B, C, h, w]; `size` is (h, w)."""
    return tokens.reshape(len(tokens), *size, -1).permute(0, 3, 1, 2)


class ChannelsLastMixer(nn.Module):
    """`glesam.nano.encoder.Mixer` of tokens [B, h w, C]."""

    def __init__(self, mixer: Any) -> None:  # noqa: ANN401 - a child of nn.Sequential
        super().__init__()
        self.norm, self.down, self.up = LastNorm(mixer.norm), Product(mixer.down), Product(mixer.up)
        self.around = mixer.around

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        inner = as_map(self.down(self.norm(x)).relu(), size)
        around: Tensor = self.around(inner).relu()
        out: Tensor = x + self.up(as_tokens(around))
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
