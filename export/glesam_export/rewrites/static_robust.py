"""RobustSAM's AMFG and restorer for one image size: the same functions, in a bundle's operators.

Changes to AMFG (`glesam.restorers.robust_features`), all exact:

- The batch norm is a product and a sum: its statistics are constants.
- The selector's two output layers are one: only the difference of their scores matters.
- The spectrum is computed by matrix products (half_spectrum.py), whose scale is in the bias of the 1 x 1
  convolution.
- Phases are kept as cosine and sine, without the angle: cos = real / magnitude.
- The last layers of the image's AMFG are matrix products: TensorRT has no ConvTranspose in bf16.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, instance_norm, linear

from glesam.config import EMBEDDING_CHANNELS
from glesam.restorers.robust_features import CELLS, MASK_CHANNELS
from glesam_export.rewrites.half_spectrum import HalfSpectrum
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_upscaling import ChannelsLastUpscaling

SLOPE = 0.01
"""Slope of LeakyReLU below 0."""
NOTHING = 1e-15
"""Real part of a frequency that is absent: its phase is then 0, as `torch.angle` has it."""
LEAST_POWER = 1e-36
"""Smallest squared magnitude: its square root divides."""


class StaticSelector(nn.Module):
    """`Selector`, with one output layer: [B, C, side, side] -> shares [B, C, 4, 1, 4, 1]."""

    def __init__(self, selector: Any, side: int) -> None:  # noqa: ANN401 - official names
        super().__init__()
        self.side = side
        self.hidden = selector.fc
        self.weight = constant(selector.att_conv1.weight - selector.att_conv2.weight)
        self.bias = constant(selector.att_conv1.bias - selector.att_conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = avg_pool2d(x, self.side // CELLS).flatten(1)
        shares = linear(self.hidden(pooled), self.weight, self.bias).sigmoid()
        return shares.reshape(-1, x.shape[1], CELLS, 1, CELLS, 1)


class StaticSelectiveConv(nn.Module):
    """`SelectiveConv` of [B, C, side, side]; the first dimension may be dynamic."""

    def __init__(self, selective: Any, side: int) -> None:  # noqa: ANN401
        super().__init__()
        self.side = side
        self.conv1, self.conv2 = selective.conv1, selective.conv2
        norm = selective.BN
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.scale = constant(scale.reshape(-1, 1, 1))
        self.shift = constant((norm.bias - norm.running_mean * scale).reshape(-1, 1, 1))
        self.selector = StaticSelector(selective.selector, side)

    def forward(self, x: Tensor) -> Tensor:
        by_batch = self.conv1(leaky(x * self.scale + self.shift))
        by_instance = self.conv2(leaky(instance_norm(x)))
        shares, cell = self.selector(by_batch + by_instance), self.side // CELLS
        by_cell = (by_batch - by_instance).reshape(-1, x.shape[1], CELLS, cell, CELLS, cell)
        out: Tensor = by_instance + (shares * by_cell).reshape(-1, x.shape[1], self.side, self.side)
        return out


class StaticFourierBlock(nn.Module):
    """`FourierBlock` of [B, C, side, side]."""

    def __init__(self, block: Any, side: int) -> None:  # noqa: ANN401
        super().__init__()
        weight = block.conv_layer.weight
        self.spectrum = HalfSpectrum(side, side, weight.dtype)
        self.weight, self.bias = weight, constant(block.conv_layer.bias / side)

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = self.spectrum(x)
        real = real + NOTHING
        power = real * real + imaginary * imaginary
        magnitude = power.clamp(min=LEAST_POWER).sqrt()
        ratio = conv2d(magnitude, self.weight, self.bias) / magnitude
        return self.spectrum.inverse(ratio * real, ratio * imaginary)


class StaticRobustFeatures(nn.Module):
    """Any of the three AMFG blocks without its last layers, of [B, C, side, side]."""

    def __init__(self, features: Any, side: int) -> None:  # noqa: ANN401
        super().__init__()
        both = features.dnc_block_combined
        self.selective = StaticSelectiveConv(both.SEMBlock["maxpool_conv"][0], side)
        self.channel_attention = both.channel_attention
        self.fourier = StaticFourierBlock(features.fgm_block, side)
        self.conv = features.conv_layer

    def forward(self, x: Tensor) -> Tensor:
        both = self.channel_attention(torch.cat([x, self.selective(x)], dim=1))
        out: Tensor = self.conv(self.fourier(both))
        return out


class StaticImageFeatures(StaticRobustFeatures):
    """`RobustImageFeatures`: [1, C, side, side] -> [1, 16 side side, 32], in the order of `in_rows`."""

    def __init__(self, features: Any, side: int) -> None:  # noqa: ANN401
        super().__init__(features, side)
        self.upscaling = ImageUpscaling(features.upsample_layer)

    def forward(self, x: Tensor) -> Tensor:
        upscaled: Tensor = self.upscaling(super().forward(x))
        return upscaled


class ImageUpscaling(ChannelsLastUpscaling):
    """The last layers of the image's AMFG; no activation ends them."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__((*layers, nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # there are no masks
        """[1, C, side, side] -> [1, 16 side side, 32]."""
        return self._second(self._first(x.flatten(2).transpose(1, 2)))


class StaticRestorer(nn.Module):
    """`RobustSam.enhance`: what depends on the image alone."""

    def __init__(self, mask_decoder: nn.Module, side: int) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        decoder: Any = for_export(mask_decoder)
        self.side = side
        self.early = StaticImageFeatures(decoder.fourier_first_layer_features, side)
        self.last = StaticImageFeatures(decoder.fourier_last_layer_features, side)

    def forward(self, image_embeddings: Tensor) -> Tensor:
        embeddings, early = image_embeddings.tensor_split([EMBEDDING_CHANNELS], dim=1)
        robust = self.early(early) + self.last(embeddings)
        # The axes: a token's row and column, then row and column within it, and within that; channels.
        blocks = robust.reshape(self.side, self.side, 2, 2, 2, 2, MASK_CHANNELS).permute(6, 2, 4, 3, 5, 0, 1)
        return torch.cat([embeddings, blocks.reshape(1, -1, self.side, self.side)], dim=1)


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU."""
    return torch.maximum(x, SLOPE * x)
