"""The constant text context: the keys and values of every cross-attention are constants."""

from __future__ import annotations

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from glesam_export.rewrites.static_attention import StaticAttention
from glesam_export.rewrites.static_gle import StaticGle, shared_copy
from glesam_runtime.errors import FoldError


def fold_text_context(gle: StaticGle) -> StaticGle:
    """attn2 keeps to_q and to_out; to_k, to_v and the context become the constants K and V.

    K is not multiplied into to_q: 77 columns per head are more than the head is wide, so that would
    add work.
    """
    context = gle.unet.context
    if context is None:
        raise FoldError("the text context is folded already")
    folded = shared_copy(gle)
    for block in folded.unet.modules():
        if isinstance(block, BasicTransformerBlock):
            block.attn2 = ConstantContextAttention(block.attn2, context)
    folded.unet.context = None
    return folded


class ConstantContextAttention(StaticAttention):
    """Cross-attention of [B, T, C] to L constant tokens; `key` and `value` are [1, heads, L, C/heads]."""

    def __init__(self, attention: Attention, context: Tensor) -> None:
        super().__init__(attention)
        with torch.no_grad():
            self.register_buffer("key", self.split_heads(attention.to_k(context)).contiguous())
            self.register_buffer("value", self.split_heads(attention.to_v(context)).contiguous())

    def attend(self, x: Tensor) -> Tensor:
        batch = len(x)
        query = self.split_heads(self.to_q(x))
        key = self.get_buffer("key").expand(batch, -1, -1, -1)
        value = self.get_buffer("value").expand(batch, -1, -1, -1)
        return scaled_dot_product_attention(query, key, value, scale=self.scale)
