"""RobustSAM's AMFG (anti-degradation mask feature generation): features with less of the degradation in them.

    x -> SelectiveConv -> beside x -> ChannelAttention -> FourierBlock -> 3 x 3 convolution -> last layers

Each part computes what the authors' repository computes from its commit 2240abb on. Modules and tensors have
the names of their checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, instance_norm, interpolate, leaky_relu

from glesam.config import EMBEDDING_CHANNELS
from glesam.sam_modules import LayerNorm2d

CELLS = 4
"""Rows and columns of the grid on which the two branches of a SelectiveConv are weighed."""
REDUCTION = 16
"""Factor by which the hidden layers of both kinds of attention are narrower."""
MASK_CHANNELS = EMBEDDING_CHANNELS // 8
"""Channels of the features that are multiplied with a token's weights to give a mask."""


class Selector(nn.Module):
    """Share of the first branch against the second, for each channel and cell of a 4 x 4 grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels * CELLS**2
        self.fc = nn.Sequential(nn.Linear(width, width // REDUCTION, bias=False), nn.ReLU())
        self.att_conv1 = nn.Linear(width // REDUCTION, width)
        self.att_conv2 = nn.Linear(width // REDUCTION, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> shares in [0, 1], [B, C, 4, 4]."""
        hidden = self.fc(adaptive_avg_pool2d(x, CELLS).flatten(1))
        # a softmax over two scores is a sigmoid of their difference
        shares: Tensor = (self.att_conv1(hidden) - self.att_conv2(hidden)).sigmoid()
        return shares.reshape(-1, x.shape[1], CELLS, CELLS)


class SelectiveConv(nn.Module):
    """A blend of two 3 x 3 convolutions: one of batch-normalized, one of instance-normalized features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.selector = Selector(channels)
        self.BN = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] in and out; H and W are multiples of 4."""
        by_batch: Tensor = self.conv1(leaky_relu(self.BN(x)))
        by_instance: Tensor = self.conv2(leaky_relu(instance_norm(x)))
        shares = interpolate(self.selector(by_batch + by_instance), x.shape[-2:], mode="nearest")
        return by_instance + shares * (by_batch - by_instance)


class ChannelAttention(nn.Module):
    """Squeeze and excite: scales each channel by a weight in [0, 1] that depends on all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.excitation = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] in and out."""
        scaled: Tensor = x * self.excitation(x.mean((2, 3)))[:, :, None, None]
        return scaled


class FourierBlock(nn.Module):
    """A 1 x 1 convolution of the spectrum's magnitude; the phase stays.

    The published pip package (1.0.0) computes this, then returns its input. The repository returns the
    result, and the checkpoints were released with it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] in and out, real. The other half of a real image's spectrum mirrors this one."""
        spectrum = torch.fft.rfft2(x)
        changed = torch.polar(self.conv_layer(spectrum.abs()), spectrum.angle())
        filtered: Tensor = torch.fft.irfft2(changed, s=x.shape[-2:])
        return filtered


class NormSelection(nn.Module):
    """Features beside their SelectiveConv, each channel weighed: [B, C, H, W] -> [B, 2C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(2 * channels)
        self.SEMBlock = nn.ModuleDict({"maxpool_conv": nn.Sequential(SelectiveConv(channels))})

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.channel_attention(torch.cat([x, self.SEMBlock["maxpool_conv"](x)], dim=1))
        return both


class RobustFeatures(nn.Module):
    """AMFG without its last layers, which the subclasses add: [B, C, H, W] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dnc_block_combined = NormSelection(channels)
        self.fgm_block = FourierBlock(2 * channels)
        self.conv_layer = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        restored: Tensor = self.conv_layer(self.fgm_block(self.dnc_block_combined(x)))
        return restored


class RobustImageFeatures(RobustFeatures):
    """AMFG of the image encoder's features: [B, C, S/16, S/16] -> [B, 32, S/4, S/4]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.upsample_layer = nn.Sequential(
            nn.ConvTranspose2d(channels, EMBEDDING_CHANNELS, 2, stride=2),
            LayerNorm2d(EMBEDDING_CHANNELS),
            nn.GELU(),
            nn.ConvTranspose2d(EMBEDDING_CHANNELS, MASK_CHANNELS, 2, stride=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        upscaled: Tensor = self.upsample_layer(super().forward(x))
        return upscaled


class RobustMaskFeatures(RobustFeatures):
    """AMFG of a prompt's mask features: [N, 32, S/4, S/4] in and out.

    Its last layers keep the size; `downsample_layer` is the checkpoints' name for them.
    """

    def __init__(self) -> None:
        super().__init__(MASK_CHANNELS)
        self.downsample_layer = nn.Sequential(
            nn.Conv2d(MASK_CHANNELS, 2 * MASK_CHANNELS, 3, padding=1),
            LayerNorm2d(2 * MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(2 * MASK_CHANNELS, MASK_CHANNELS, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.downsample_layer(super().forward(x))
        return refined
