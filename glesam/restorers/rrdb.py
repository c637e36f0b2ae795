"""BSRNet, stage 1 of DiffBIR v2: residual in residual dense blocks, then two nearest-neighbour enlargements.

The network of ESRGAN (Wang et al., 2018) with the weights of BSRGAN (Zhang et al., ICCV 2021). Modules have
the names of the official file, BSRNet.pth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

RESIDUAL_SCALE = 0.2
NEGATIVE_SLOPE = 0.2


@dataclass(frozen=True)
class RrdbConfig:
    """Channels of the trunk and of a dense layer's addition, and number of blocks; BSRNet's by default."""

    features: int = 64
    growth: int = 32
    blocks: int = 23


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions of [B, C, H, W], each of which sees the input and all results before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for layer in range(4):
            self.add_module(f"conv{layer + 1}", conv(features + layer * growth, growth))
        self.conv5 = conv(features + 4 * growth, features)
        self.lrelu = nn.LeakyReLU(NEGATIVE_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        known = x
        for layer in range(4):
            known = torch.cat([known, self.lrelu(self.get_submodule(f"conv{layer + 1}")(known))], dim=1)
        out: Tensor = x + RESIDUAL_SCALE * self.conv5(known)
        return out


class Rrdb(nn.Module):
    """Three dense blocks in a residual branch."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(features, growth)
        self.RDB2 = DenseBlock(features, growth)
        self.RDB3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + RESIDUAL_SCALE * self.RDB3(self.RDB2(self.RDB1(x)))
        return out


class RrdbNet(nn.Module):
    """RGB [B, 3, H, W] in [0, 1] -> [B, 3, 4 H, 4 W]."""

    def __init__(self, config: RrdbConfig) -> None:
        super().__init__()
        width = config.features
        self.conv_first = conv(3, width)
        self.RRDB_trunk = nn.Sequential(*(Rrdb(width, config.growth) for _ in range(config.blocks)))
        self.trunk_conv = conv(width, width)
        self.upconv1 = conv(width, width)
        self.upconv2 = conv(width, width)
        self.HRconv = conv(width, width)
        self.conv_last = conv(width, 3)
        self.lrelu = nn.LeakyReLU(NEGATIVE_SLOPE)

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv_first(image)
        features = features + self.trunk_conv(self.RRDB_trunk(features))
        for upconv in (self.upconv1, self.upconv2):
            features = self.lrelu(upconv(interpolate(features, scale_factor=2, mode="nearest")))
        restored: Tensor = self.conv_last(self.lrelu(self.HRconv(features)))
        return restored
