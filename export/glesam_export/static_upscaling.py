"""From the decoder's cells to masks, channels last: the same function without a transposed convolution.

SAM's two ConvTranspose2d have stride and kernel 2, so each cell's four children are a product of its own
channels; norm and GELU follow on the last axis. Only the masks, a few channels of the 32, are put in order.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad

from glesam_export.static_gle import constant


class ChannelsLastUpscaling(nn.Module):
    """SAM's `output_upscaling` and the product with the mask tokens' weights."""

    def __init__(self, upscaling: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        first, norm, _, second, _ = upscaling
        self.norm, self.channels, self.out_channels = norm, first.out_channels, second.out_channels
        self.first_weight, self.first_bias = _as_product(first)
        self.second_weight, self.second_bias = _as_product(second)

    def forward(self, cells: Tensor, weights: Tensor, side: int) -> Tensor:
        """Cells [N, side side, 256] and weights [N, M, 32] -> masks [N, M, 4 side, 4 side]."""
        n, masks = weights.shape[:2]
        children = (cells @ self.first_weight + self.first_bias).reshape(n, 4 * side * side, self.channels)
        norm = self.norm
        children = gelu(layer_norm(children, (self.channels,), norm.weight, norm.bias, norm.eps))
        children = gelu(children @ self.second_weight + self.second_bias)
        values = weights @ children.reshape(n, 16 * side * side, self.out_channels).transpose(1, 2)
        # Of a spot: the cell's row and column, then those within the cell, and within that.
        ordered = values.reshape(-1, side, side, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return ordered.reshape(n, masks, 4 * side, 4 * side)


class WeightedConvolution(nn.Module):
    """A 3 x 3 convolution whose 32 outputs are only ever summed by the mask tokens' weights.

    The weights are applied to its kernels, and 9 shifted products are added: for one mask 5 MFLOP instead of
    150 at 128 x 128.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        outputs, self.inputs = convolution.weight.shape[:2]
        taps = convolution.weight.permute(0, 2, 3, 1)  # [outputs, y, x, inputs]
        self.kernels = constant(taps.reshape(outputs, -1))
        assert convolution.bias is not None
        self.bias = constant(convolution.bias.reshape(-1, 1))

    def forward(self, x: Tensor, weights: Tensor, side: int) -> Tensor:
        """[N, inputs, side side] and weights [N, M, outputs] -> [N, M, side, side]."""
        n, masks = weights.shape[:2]
        kernels = (weights @ self.kernels).reshape(n, masks, 9, self.inputs).transpose(1, 2)
        padded = pad(x.reshape(n, self.inputs, side, side), (1, 1, 1, 1))
        taps = (kernels.flatten(1, 2) @ padded.flatten(2)).reshape(n, 9 * masks, side + 2, side + 2)
        total = (weights @ self.bias).unsqueeze(-1)
        for tap in range(9):
            down, across = divmod(tap, 3)
            of_tap = taps[:, tap * masks : (tap + 1) * masks]
            total = total + of_tap[:, :, down : down + side, across : across + side]
        return total


def _as_product(convolution: nn.ConvTranspose2d) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight [inputs, 2 2 outputs] and bias, for a kernel of 2 at stride 2."""
    assert convolution.kernel_size == convolution.stride == (2, 2)
    assert convolution.bias is not None
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    return constant(weight), constant(convolution.bias.repeat(4))
