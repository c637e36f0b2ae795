"""Five DDIM steps as one static graph: batch norms inside convolutions, time vectors inside biases. Exact.

The first bottleneck reads x + e, with e the time vector of a step, and passes it on in its residual:

    (x + e) + W3 g(W1 (x + e) + b1) + b3 = x + W3 g(W1 x + (b1 + W1 e)) + (b3 + e)

so that every step has two biases of its own, and all share the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.fusion import fuse_conv_bn_eval

from glesam.ddim import TIMESTEPS, Bottleneck, DdimDenoiser
from glesam_export.rewrites.static_gle import constant


class StaticBottleneck(nn.Module):
    """`Bottleneck` with its batch norms in its convolutions."""

    def __init__(self, bottleneck: Bottleneck) -> None:
        super().__init__()
        layers: Any = bottleneck.block
        self.first = fuse_conv_bn_eval(layers[0], layers[1])
        self.around = fuse_conv_bn_eval(layers[3], layers[4])
        self.last = fuse_conv_bn_eval(layers[6], layers[7])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.last(self.around(self.first(x).relu()).relu())
        return out


class TimedBottleneck(nn.Module):
    """The first bottleneck; its two outer biases [5, C] hold the time vectors of the steps."""

    def __init__(self, bottleneck: Bottleneck, times: Tensor) -> None:
        """`times`: [5, C]."""
        super().__init__()
        static = StaticBottleneck(bottleneck)
        first, last = static.first, static.last
        assert first.bias is not None
        assert last.bias is not None
        self.around = static.around
        self.first_weight, self.last_weight = constant(first.weight), constant(last.weight)
        self.first_biases = constant(first.bias + times @ first.weight[:, :, 0, 0].T)
        self.last_biases = constant(last.bias + times)

    def forward(self, x: Tensor, step: int) -> Tensor:
        inner = conv2d(x, self.first_weight, self.first_biases[step]).relu()
        return x + conv2d(self.around(inner).relu(), self.last_weight, self.last_biases[step])


class StaticDenoiser(nn.Module):
    """`glesam.ddim.DdimDenoiser` in eval mode; features [N, C, h, w] in and out."""

    def __init__(self, denoiser: DdimDenoiser) -> None:
        super().__init__()
        layers: Any = denoiser.noise.layers
        times = denoiser.noise.time_embedding.weight[list(TIMESTEPS)]
        with torch.no_grad():
            self.first = TimedBottleneck(layers[0], times)
            self.second = StaticBottleneck(layers[1])
            self.last = fuse_conv_bn_eval(layers[2], layers[3])
        self.coefficients = denoiser.coefficients

    def forward(self, x: Tensor) -> Tensor:
        for step, (a, b) in enumerate(self.coefficients):
            x = a * x + b * self.last(self.second(self.first(x, step)))
        return x


class DenoisedTokens(nn.Module):
    """A two-way transformer in its exportable form, whose image tokens are denoised at its end."""

    def __init__(self, transformer: nn.Module, denoiser: DdimDenoiser) -> None:
        super().__init__()
        self.transformer, self.denoiser = transformer, StaticDenoiser(denoiser)

    def forward(self, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens [N, h h, 256] -> prompt tokens, and denoised image tokens [N, h h, 256]."""
        queries, keys = self.transformer(image, positions, tokens)
        side = round(keys.shape[1] ** 0.5)
        grid = self.denoiser(keys.transpose(1, 2).unflatten(2, (side, side)))
        return queries, grid.flatten(2).transpose(1, 2)
