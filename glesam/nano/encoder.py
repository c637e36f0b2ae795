"""A convolutional image encoder with SAM's interface, small enough to train from scratch on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_unshuffle, scaled_dot_product_attention

from glesam.config import EMBEDDING_CHANNELS, ConvEncoderConfig
from glesam.nano.guide import MASK_STRIDE, UPSCALING
from glesam.sam_modules import LayerNorm2d


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the exporter folds the norm into the convolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


PLACE_FEATURES = 16


def place_features(height: int, width: int) -> Tensor:
    """[1, 16, height, width]: x, x^2, and sine and cosine of pi k x for k = 1, 2, 4; the same of y.

    x and y run from -1 to 1 between the centres of the outermost positions.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    features = []
    for axis in (x, y):
        features += [axis, axis**2]
        for k in (1, 2, 4):
            features += [torch.sin(torch.pi * k * axis), torch.cos(torch.pi * k * axis)]
    return torch.stack(features).unsqueeze(0)


def colours(image: Tensor) -> Tensor:
    """Normalized image [B, 3, S, S] -> mean colour of every 4 x 4 px, [B, 48, S/16, S/16].

    Channel 16 c + i is colour c of the i-th of the 4 x 4 stride-4 positions within a token, row by row, as
    `pixel_shuffle` takes them apart again.
    """
    return pixel_unshuffle(avg_pool2d(image, MASK_STRIDE), UPSCALING)


class Bottleneck(nn.Module):
    """ResNet's bottleneck with an identity skip (He et al., 2016)."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(channels, bottleneck, 1),
            nn.ReLU(),
            conv_norm(bottleneck, bottleneck, 3),
            nn.ReLU(),
            conv_norm(bottleneck, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class SelfAttention(nn.Module):
    """A pre-norm transformer block over all positions (Vaswani et al., 2017), [B, C, h, w] in and out."""

    def __init__(self, channels: int, heads: int = 4, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels), nn.GELU(), nn.Linear(mlp_ratio * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.proj(self.attend(self.norm1(tokens)))
        tokens = tokens + self.mlp(self.norm2(tokens))
        mixed: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return mixed

    def attend(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class ConvEncoder(nn.Module):
    """Image float32 [B, 3, S, S], normalized -> image embeddings [B, 256, S/16, S/16].

    Strides 4 to 32 are joined at 16 (4 and 8 rearranged, so that edges survive), attend to each other in
    `config.attention_blocks`, and end in the same neck as SAM's ViT. S must be a multiple of 32.

    Every token also contains its position: a decoder learns to read a box much sooner when the position is
    in what it attends to. And the first 48 channels are plain colours, for `glesam.nano.guide`.
    """

    def __init__(self, config: ConvEncoderConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Sequential(conv_norm(3, widths[0] // 2, 3, stride=2), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm(before, width, 3, stride=2),
                nn.ReLU(),
                *(Bottleneck(width, inner) for _ in range(depth)),
            )
            for before, width, inner, depth in zip(
                (widths[0] // 2, *widths[:-1]),
                widths,
                config.bottlenecks,
                config.depths,
                strict=True,
            )
        )
        self.lateral4 = nn.Conv2d(16 * widths[0], EMBEDDING_CHANNELS, 1)
        self.lateral8 = nn.Conv2d(4 * widths[1], EMBEDDING_CHANNELS, 1)
        self.lateral16 = nn.Conv2d(widths[2], EMBEDDING_CHANNELS, 1)
        self.lateral32 = nn.Conv2d(widths[3], EMBEDDING_CHANNELS, 1)
        self.attention = nn.Sequential(
            *(SelfAttention(EMBEDDING_CHANNELS) for _ in range(config.attention_blocks))
        )
        self.neck = nn.Sequential(
            LayerNorm2d(EMBEDDING_CHANNELS),
            nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(EMBEDDING_CHANNELS),
        )
        self.place = nn.Conv2d(PLACE_FEATURES, EMBEDDING_CHANNELS, 1, bias=False)

    def place_embeddings(self, height: int, width: int) -> Tensor:
        """[1, 256, height, width], the part of the embeddings that is the same for every image."""
        places: Tensor = self.place(place_features(height, width).to(self.place.weight))
        return places

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        stride4, stride8, stride16, stride32 = features
        detail = self.lateral4(pixel_unshuffle(stride4, 4)) + self.lateral8(pixel_unshuffle(stride8, 2))
        context = interpolate(self.lateral32(stride32), scale_factor=2.0, mode="nearest")
        place = self.place_embeddings(*stride16.shape[-2:])
        merged = self.attention(detail + self.lateral16(stride16) + context + place)
        learned = self.neck(merged) + place
        seen = colours(image)
        return torch.cat([seen, learned[:, seen.shape[1] :]], dim=1)
