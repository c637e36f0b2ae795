"""The part that all replacements of diffusers' attention share."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class StaticAttention(nn.Module):
    """Attention of [B, T, C] to [B, T, C]; `attend` returns the heads' outputs, [B, heads, T, C / heads]."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - diffusers' Attention
        super().__init__()
        self.heads: int = attention.heads
        self.scale: float = attention.scale
        self.to_q = attention.to_q
        self.to_out = attention.to_out[:1]

    def split_heads(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, heads, T, C / heads]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def attend(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
    ) -> Tensor:
        """The signature that diffusers' transformer block calls; the last two are always None."""
        out: Tensor = self.to_out[0](self.attend(hidden_states).transpose(1, 2).flatten(2))
        return out
