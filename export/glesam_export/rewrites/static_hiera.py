"""SAM 2's image encoder for one image size: the same function with less work.

All changes are exact (proved in float64):

- Padded tokens of a window are zeros, so their queries, keys and values are the bias: the projection runs
  before the padding, the bias is added after it, and the output projection runs after the padding is cut off.
- The attention's scale is in the weights of the queries; it is positive and commutes with their max pooling.
- Positions are one constant for the image size, without the bicubic resizing.
- The two finest levels of the neck are no one's input but their projection's: two 1 x 1 convolutions are one.
- `no_mem_embed` is in the bias of the neck's third level.
- Max pooling is two maxima over an axis each, which leaves the channels last.
- transformers also computes products of the heads with each other, which it never uses.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from glesam.sam2 import HieraEncoder
from glesam_export.rewrites.static_gle import constant
from glesam_runtime.errors import ConversionError

PATCH_STRIDE = 4


class StaticHiera(nn.Module):
    """`glesam.sam2.HieraEncoder` for images of one size.

    The names of its parts are those of the graph's nodes, by which int8's policy tells them apart.
    """

    def __init__(self, encoder: HieraEncoder, image_size: int) -> None:
        super().__init__()
        backbone: Any = encoder.backbone
        blocks, side = iter(backbone.blocks), image_size // PATCH_STRIDE
        self.patches = backbone.patch_embed.projection
        self.stages = nn.ModuleList()
        with torch.no_grad():
            self.positions = constant(encoder.positions(side))
            for count in encoder.config.stages:
                stage = nn.ModuleList()
                for block in islice(blocks, count):
                    stage.append(StaticHieraBlock(block, side))
                    side //= block.query_stride[0] if block.query_stride else 1
                self.stages.append(stage)
            self.pyramid = StaticPyramid(encoder)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `glesam.sam2.HieraEncoder.forward`."""
        x = self.patches(image).permute(0, 2, 3, 1) + self.positions
        outputs = []
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = block(x)
            outputs.append(x)
        features: tuple[Tensor, Tensor, Tensor] = self.pyramid(*outputs)
        return features


class StaticPyramid(nn.Module):
    """The neck and both projections of high-resolution features, one product for each of its levels.

    The encoder keeps its own neck.
    """

    def __init__(self, encoder: HieraEncoder) -> None:
        super().__init__()
        coarsest, third, second, first = encoder.neck.convs
        levels = encoder.neck.top_down_levels
        if not {0, 1}.isdisjoint(levels):
            raise ConversionError(
                f"top_down_levels {list(levels)}: expected 2 and 3 alone, as in SAM 2; "
                "export a checkpoint in which nothing is added to the two finest levels"
            )
        self.top_down = 2 in levels
        self.coarsest_weight, self.coarsest_bias = _product(coarsest)
        self.third_weight, bias = _product(third)
        if encoder.config.no_mem_embed == "before_gle":
            bias = constant(bias + encoder.no_mem_embed.flatten())
        self.third_bias = bias
        self.s0_weight, self.s0_bias = _merged(first, encoder.conv_s0)
        self.s1_weight, self.s1_bias = _merged(second, encoder.conv_s1)

    def forward(
        self, first: Tensor, second: Tensor, third: Tensor, coarsest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hiera's four outputs, finest first -> embeddings and high-resolution features."""
        embeddings = _planes(third @ self.third_weight + self.third_bias)
        if self.top_down:
            coarse = _planes(coarsest @ self.coarsest_weight + self.coarsest_bias)
            embeddings = embeddings + interpolate(coarse, scale_factor=2.0, mode="nearest")
        high_res_s0 = _planes(first @ self.s0_weight + self.s0_bias)
        return embeddings, high_res_s0, _planes(second @ self.s1_weight + self.s1_bias)


class StaticHieraBlock(nn.Module):
    """One block of Hiera, tokens [B, H, W, C] in; the first of a stage halves H and W."""

    def __init__(self, block: Any, side: int) -> None:  # noqa: ANN401 - transformers' type says less
        """`side`: H and W of the input."""
        super().__init__()
        attention = block.attn
        self.norm1, self.norm2, self.mlp, self.proj = (
            block.layer_norm1,
            block.layer_norm2,
            block.mlp,
            attention.proj,
        )
        self.stride: int = block.query_stride[0] if block.query_stride else 1
        self.shortcut = block.proj if block.dim != block.dim_out else None
        self.heads: int = attention.num_attention_heads
        self.window: int = block.window_size or side
        self.padding = -side % self.window
        self.count = (side + self.padding) // self.window
        self.out_side = side // self.stride
        weight, bias = attention.qkv.weight.clone(), attention.qkv.bias.clone()
        for queries in (weight[: len(weight) // 3], bias[: len(bias) // 3]):
            queries *= attention.scale
        self.qkv_weight, self.qkv_bias = constant(weight.T.contiguous()), constant(bias)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.shortcut is not None:
            x = self._pooled(self.shortcut(normed))
        qkv = self._windows(normed @ self.qkv_weight) + self.qkv_bias
        x = x + self.proj(self._whole(self._attend(qkv)))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, qkv: Tensor) -> Tensor:
        """[N, window, window, 3C] -> [N, s, s, C] within each window, s = window / stride."""
        query, key, value = qkv.chunk(3, dim=-1)
        query = self._pooled(query)
        side = query.shape[1]
        query, key, value = (self._by_head(part) for part in (query, key, value))
        mixed = (query @ key.transpose(2, 3)).softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(len(qkv), side, side, -1)

    def _by_head(self, x: Tensor) -> Tensor:
        """[N, s, s, C] -> [N, heads, s s, C / heads]."""
        n, side, _, channels = x.shape
        return x.reshape(n, side * side, self.heads, channels // self.heads).transpose(1, 2)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        n, side, _, channels = x.shape
        half = side // self.stride
        x = x.reshape(n, half, self.stride, side * channels).amax(2)
        return x.reshape(n, half, half, self.stride, channels).amax(3)

    def _windows(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [N, window, window, C], padded with zeros."""
        if self.count == 1 and not self.padding:
            return x
        if self.padding:
            x = pad(x, (0, 0, 0, self.padding, 0, self.padding))
        count, side = self.count, self.window
        return x.reshape(-1, count, side, count, side, x.shape[-1]).transpose(2, 3).flatten(0, 2)

    def _whole(self, x: Tensor) -> Tensor:
        """The inverse of `_windows`, for pooled windows."""
        if self.count == 1 and not self.padding:
            return x
        count, side = self.count, self.window // self.stride
        x = x.reshape(-1, count, count, side, side, x.shape[-1]).transpose(2, 3)
        x = x.reshape(-1, count * side, count * side, x.shape[-1])
        return x[:, : self.out_side, : self.out_side] if self.padding else x


def _planes(x: Tensor) -> Tensor:
    """[B, h, w, C] -> [B, C, h, w]."""
    return x.permute(0, 3, 1, 2)


def _product(conv: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight [inputs, outputs] and bias of a 1 x 1 convolution."""
    layer: Any = conv
    return constant(layer.weight.flatten(1).T.contiguous()), constant(layer.bias)


def _merged(first: nn.Module, second: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """The product of two 1 x 1 convolutions in a row."""
    (weight, bias), (last_weight, last_bias) = _product(first), _product(second)
    return constant(weight @ last_weight), constant(bias @ last_weight + last_bias)
