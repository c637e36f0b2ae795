"""A convolutional image encoder with SAM's interface, small enough to train from scratch on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle

from glesam.config import EMBEDDING_CHANNELS, ConvEncoderConfig
from glesam.sam_modules import LayerNorm2d


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the exporter's optimizer folds the norm into the convolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


PLACE_FEATURES = 16


def place_features(height: int, width: int) -> Tensor:
    """[1, 16, height, width]: x, x^2, and sine and cosine of pi k x for k = 1, 2, 4; the same of y.

    x and y run from -1 to 1 between the centres of the outer cells.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    features = []
    for axis in (x, y):
        features += [axis, axis**2]
        for k in (1, 2, 4):
            features += [torch.sin(torch.pi * k * axis), torch.cos(torch.pi * k * axis)]
    return torch.stack(features).unsqueeze(0)


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


class ConvEncoder(nn.Module):
    """Image float32 [B, 3, S, S], normalized -> image embeddings [B, 256, S/16, S/16].

    Strides 4 to 32; the embedding joins stride 8 (rearranged, so that edges survive), 16 and 32,
    and ends in the same neck as SAM's ViT, plus an embedding of each cell's place. S must be a
    multiple of 32.

    SAM's decoder shows its image tokens where they are only through attention; a decoder trained on
    little data finds a box much sooner when the place is also in what it attends to.
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
        self.lateral8 = nn.Conv2d(4 * widths[1], EMBEDDING_CHANNELS, 1)
        self.lateral16 = nn.Conv2d(widths[2], EMBEDDING_CHANNELS, 1)
        self.lateral32 = nn.Conv2d(widths[3], EMBEDDING_CHANNELS, 1)
        self.neck = nn.Sequential(
            LayerNorm2d(EMBEDDING_CHANNELS),
            nn.Conv2d(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(EMBEDDING_CHANNELS),
        )

        self.place = nn.Conv2d(PLACE_FEATURES, EMBEDDING_CHANNELS, 1, bias=False)

    def place_embeddings(self, height: int, width: int) -> Tensor:
        """[1, 256, height, width], the part of the embeddings that no picture changes."""
        places: Tensor = self.place(place_features(height, width).to(self.place.weight))
        return places

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        _, stride8, stride16, stride32 = features
        context = interpolate(self.lateral32(stride32), scale_factor=2.0, mode="nearest")
        merged = self.lateral8(pixel_unshuffle(stride8, 2)) + self.lateral16(stride16) + context
        embeddings: Tensor = self.neck(merged)
        return embeddings + self.place_embeddings(*embeddings.shape[-2:])
