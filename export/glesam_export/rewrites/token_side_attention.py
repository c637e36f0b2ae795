"""Attentions between a few tokens and all cells in SAM's mask decoder, worked out on the tokens' side.

SAM projects every cell to queries, keys and values. With T tokens, d channels a head and K, V of the cells X:

    tokens to cells:   softmax(q (X Wk)^T) (X Wv) = (softmax((q Wk^T) X^T) X) Wv
    cells to tokens:   softmax((X Wq) k^T) (v Wo) = softmax(X (Wq k^T)) (v Wo)

On the right the projections stand beside the tokens, and the cells are multiplied by 8 T columns instead of
128. A prompt of a box has T = 7: 290 MFLOP a pass for 1,024 cells instead of 670. Beyond 11 points it is more
work, not less. Exact: a bias of the keys moves all scores of a query alike, which softmax ignores, and since
each head's weights sum to 1, the values' bias stays itself and an output bias is shared out among the heads.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glesam_export.rewrites.static_gle import constant


class _TokenSideAttention(nn.Module):
    def __init__(self, heads: int, of_cells: nn.Linear, of_tokens: nn.Linear) -> None:
        super().__init__()
        self.heads = heads
        self.of_tokens = of_tokens
        self.scale = (of_cells.out_features // heads) ** -0.5
        by_head = of_cells.weight.reshape(heads, -1, of_cells.in_features)
        self.cells_weight = constant(by_head)  # [heads, d, C]

    def split_heads(self, x: Tensor) -> Tensor:
        """[N, T, heads d] -> [N, heads, T, d]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def scaled(self, tokens: Tensor) -> Tensor:
        """The tokens' queries or keys, [N, heads, T, d]; scaled early: scores stay in fp16's range."""
        scaled: Tensor = self.of_tokens(tokens) * self.scale
        return self.split_heads(scaled)


class TokensToCells(_TokenSideAttention):
    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__(attention.num_heads, attention.k_proj, attention.q_proj)
        values: nn.Linear = attention.v_proj
        by_head = values.weight.reshape(self.heads, -1, values.in_features)
        self.values_weight, self.values_bias = constant(by_head.transpose(1, 2)), values.bias
        self.out_proj = attention.out_proj

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[N, T, C] for the tokens; keys and values [N, cells, C]."""
        asked = (self.scaled(queries) @ self.cells_weight).flatten(1, 2)  # [N, heads T, C]
        seen = (asked @ keys.transpose(1, 2)).softmax(-1) @ values
        by_head = seen.reshape(seen.shape[0], self.heads, -1, seen.shape[2])
        heads = by_head @ self.values_weight  # [N, heads, T, d]
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2) + self.values_bias)
        return out


class CellsToTokens(_TokenSideAttention):
    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__(attention.num_heads, attention.q_proj, attention.k_proj)
        self.cells_bias = constant(attention.q_proj.bias.reshape(self.heads, -1, 1))
        self.v_proj = attention.v_proj
        out: nn.Linear = attention.out_proj
        self.out_weight = constant(out.weight.T.reshape(self.heads, -1, out.out_features))
        self.out_bias = constant(out.bias / self.heads)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[N, cells, C] for the cells; keys and values [N, T, C]."""
        scaled = self.scaled(keys)
        asked = (scaled @ self.cells_weight).flatten(1, 2)  # [N, heads T, C]
        scores = queries @ asked.transpose(1, 2) + (scaled @ self.cells_bias).reshape(keys.shape[0], 1, -1)
        weights = scores.reshape(*scores.shape[:2], self.heads, -1).softmax(-1).flatten(2)
        told = (self.split_heads(self.v_proj(values)) @ self.out_weight).flatten(1, 2) + self.out_bias
        return weights @ told


class TokenSideTransformer(nn.Module):
    """SAM's TwoWayTransformer: tokens and cells attend to each other."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        self.layers = transformer.layers
        self.to_cells = nn.ModuleList(
            TokensToCells(layer.cross_attn_token_to_image) for layer in transformer.layers
        )
        self.to_tokens = nn.ModuleList(
            CellsToTokens(layer.cross_attn_image_to_token) for layer in transformer.layers
        )
        self.last_to_cells = TokensToCells(transformer.final_attn_token_to_image)
        self.last_norm = transformer.norm_final_attn

    def forward(self, cells: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [N, cells, C], their positions [1, cells, C], tokens [N, T, C] -> tokens, cells."""
        x = tokens
        for layer, to_cells, to_tokens in zip(self.layers, self.to_cells, self.to_tokens, strict=True):
            x = layer.norm1(_self_attended(layer, x, tokens))
            placed = cells + positions
            x = layer.norm2(x + to_cells(x + tokens, placed, cells))
            x = layer.norm3(x + layer.mlp(x))
            cells = layer.norm4(cells + to_tokens(placed, x + tokens, x))
        x = x + self.last_to_cells(x + tokens, cells + positions, cells)
        return self.last_norm(x), cells


def _self_attended(layer: Any, x: Tensor, tokens: Tensor) -> Tensor:  # noqa: ANN401
    """The first layer's tokens are their own positions, and no residual is added there."""
    attended: Tensor
    if layer.skip_first_layer_pe:
        attended = layer.self_attn(q=x, k=x, v=x)
        return attended
    placed = x + tokens
    attended = layer.self_attn(q=placed, k=placed, v=x)
    return x + attended
