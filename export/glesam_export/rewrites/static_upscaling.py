"""From the decoder's image tokens to masks, channels last: the same function without ConvTranspose2d.

SAM's two ConvTranspose2d have stride and kernel 2, so the four children of a position are a product of its
own channels; norm and activation follow on the last axis. Only the masks, a few channels of the 32, are put
in order.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from glesam_export.rewrites.static_gle import constant


class ChannelsLastUpscaling(nn.Module):
    """SAM's `output_upscaling` and the product with the mask tokens' weights."""

    def __init__(self, upscaling: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        first, self.norm, self.first_activation, second, self.second_activation = upscaling
        self.channels, self.out_channels = first.out_channels, second.out_channels
        self.first_weight, self.first_bias = _as_product(first)
        self.second_weight, self.second_bias = _as_product(second)

    def forward(self, tokens: Tensor, weights: Tensor, side: int) -> Tensor:
        """Image tokens [N, side side, 256] and weights [N, M, 32] -> masks [N, M, 4 side, 4 side]."""
        values = weights @ self._second(self._first(tokens)).transpose(1, 2)
        return in_rows(values, side)

    def _first(self, tokens: Tensor) -> Tensor:
        """[N, P, 256] -> [N, 4 P, 64]; the children of a position follow each other."""
        children = (tokens @ self.first_weight + self.first_bias).reshape(tokens.shape[0], -1, self.channels)
        norm = self.norm
        normed = layer_norm(children, (self.channels,), norm.weight, norm.bias, norm.eps)
        activated: Tensor = self.first_activation(normed)
        return activated

    def _second(self, children: Tensor) -> Tensor:
        """[N, P, 64] -> [N, 4 P, 32]."""
        activated: Tensor = self.second_activation(children @ self.second_weight + self.second_bias)
        return activated.reshape(children.shape[0], -1, self.out_channels)


class HighResUpscaling(ChannelsLastUpscaling):
    """SAM 2's, which adds the image's finer features to each of the two steps before its activation."""

    def ordered(self, features: Tensor, children: int) -> Tensor:
        """[1, C, c side, c side] -> [1, c c side side, C] with c `children`, in the tokens' order."""
        channels, side = features.shape[1], features.shape[2] // children
        halvings = [2] * (children // 2)  # children 2: [2], 4: [2, 2]
        split = features.reshape(1, channels, side, *halvings, side, *halvings)
        steps = len(halvings) + 1
        axes = [axis for step in range(steps) for axis in (2 + step, 2 + steps + step)]
        return split.permute(0, *axes, 1).reshape(1, -1, channels)

    def forward(  # type: ignore[override]  # it needs more than SAM's
        self, tokens: Tensor, weights: Tensor, side: int, fine: Tensor, middle: Tensor
    ) -> Tensor:
        """`fine` [1, 16 side side, 32] and `middle` [1, 4 side side, 64] are those of `ordered`."""
        norm = self.norm
        first = (tokens @ self.first_weight + self.first_bias).reshape(tokens.shape[0], -1, self.channels)
        first = layer_norm(first + middle, (self.channels,), norm.weight, norm.bias, norm.eps)
        second = self.first_activation(first) @ self.second_weight + self.second_bias
        second = self.second_activation(second.reshape(tokens.shape[0], -1, self.out_channels) + fine)
        return in_rows(weights @ second.transpose(1, 2), side)


def in_rows(values: Tensor, side: int) -> Tensor:
    """Masks in the tokens' order [N, M, 16 side side] -> [N, M, 4 side, 4 side]."""
    # The axes: a token's row and column, then row and column within it, and within that.
    ordered = values.reshape(-1, side, side, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return ordered.reshape(*values.shape[:2], 4 * side, 4 * side)


def _as_product(convolution: nn.ConvTranspose2d) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight [inputs, 2 2 outputs] and bias, for a kernel of 2 at stride 2."""
    assert convolution.kernel_size == convolution.stride == (2, 2)
    assert convolution.bias is not None
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    return constant(weight), constant(convolution.bias.repeat(4))
