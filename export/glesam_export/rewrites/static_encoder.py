"""SAM's ViT blocks for one image size: the same function with less work, and in plainer operators.

Four changes to each block, all exact (proved in float64):

- A window block pads its 64 x 64 tokens to 70 x 70. Padded tokens are zeros after the norm, so their
  queries, keys and values are the bias: the projections run before the padding (16 % fewer tokens), the
  bias is added after it, and the output projection runs after the padding is cut off.
- Tables of relative positions are gathered once, and applied by MatMul instead of Einsum, which ONNX
  does not define for bf16.
- The attention's scale is in the weights of the queries, and taken out of the tables again.
- The terms of the two tables are summed before they meet the scores, so that product, one sum, softmax and
  product stand in a row: the pattern that OpenVINO runs as one kernel, without writing the scores of 4,096
  tokens (bf16 1.27x, measurements/README.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from glesam.config import EMBEDDING_STRIDE
from glesam.nano.encoder import NanoEncoder
from glesam.sam2 import HieraEncoder
from glesam.sam_modules import ViTBlock, relative_positions
from glesam_export.rewrites.channels_last_neck import ChannelsLastEncoder
from glesam_export.rewrites.static_gle import constant, shared_copy
from glesam_export.rewrites.static_hiera import StaticHiera


def static_encoder(image_encoder: nn.Module, side: int) -> nn.Module:
    """A copy, sharing its tensors, in the form of the graph: SAM's with `StaticBlock`s, nano's channels last.

    SAM 2's has three outputs (`glesam_export.rewrites.static_hiera`).

    Args:
        side: tokens per side of the image, S / 16.
    """
    if isinstance(image_encoder, NanoEncoder):
        return ChannelsLastEncoder(shared_copy(image_encoder))
    if isinstance(image_encoder, HieraEncoder):
        return StaticHiera(shared_copy(image_encoder), side * EMBEDDING_STRIDE)
    copy: Any = shared_copy(image_encoder)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ViTBlock):
                setattr(parent, name, StaticBlock(child, side))
    encoder: nn.Module = copy
    return encoder


class StaticBlock(nn.Module):
    """One transformer block, tokens [B, H, W, C] in and out; H = W = `image_side`."""

    def __init__(self, block: Any, image_side: int) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        attention = block.attn
        self.norm1, self.norm2, self.mlp, self.proj = block.norm1, block.norm2, block.mlp, attention.proj
        self.heads: int = attention.num_heads
        self.image_side = image_side
        self.window: int = block.window_size
        self.side = self.window or image_side
        self.padding = -image_side % self.side
        self.count = (image_side + self.padding) // self.side
        with torch.no_grad():
            weight, bias = attention.qkv.weight.clone(), attention.qkv.bias.clone()
            for queries in (weight[: len(weight) // 3], bias[: len(bias) // 3]):
                queries *= attention.scale
            self.qkv_weight, self.qkv_bias = constant(weight.T), constant(bias)
            for axis in ("h", "w"):
                table = relative_positions(self.side, self.side, getattr(attention, f"rel_pos_{axis}"))
                setattr(self, f"rel_{axis}", constant((table / attention.scale).transpose(1, 2)))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self._windows(self.norm1(x) @ self.qkv_weight) + self.qkv_bias
        x = x + self.proj(self._whole(self._attend(qkv)))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, qkv: Tensor) -> Tensor:
        """[N, side, side, 3C] -> [N, side, side, C], within each of the N windows."""
        n, side, heads = len(qkv), self.side, self.heads
        parts = qkv.reshape(n, side * side, 3, heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        grid = query.reshape(n, heads, side, side, -1)
        by_row = grid @ self.get_parameter("rel_h")  # [N, heads, y, x, y of the key]
        by_column = (grid.transpose(2, 3) @ self.get_parameter("rel_w")).transpose(2, 3)
        positions = (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).reshape(n, heads, side * side, -1)
        weights = (query @ key.transpose(2, 3) + positions).softmax(-1)
        return (weights @ value).transpose(1, 2).reshape(n, side, side, -1)

    def _windows(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [N, side, side, C], padded with zeros; without windows the whole image is one."""
        if not self.window:
            return x
        x = pad(x, (0, 0, 0, self.padding, 0, self.padding))
        count, side = self.count, self.side
        return x.reshape(-1, count, side, count, side, x.shape[-1]).transpose(2, 3).flatten(0, 2)

    def _whole(self, x: Tensor) -> Tensor:
        """The inverse of `_windows`."""
        if not self.window:
            return x
        count, side = self.count, self.side
        x = x.reshape(-1, count, count, side, side, x.shape[-1]).transpose(2, 3)
        return x.reshape(-1, count * side, count * side, x.shape[-1])[:, : self.image_side, : self.image_side]
