"""Attentions between few prompt tokens and many image tokens in SAM's decoder, on the prompt tokens' side.

SAM projects every image token to queries, keys and values. With T prompt tokens, d channels a head and the
keys and values of the image tokens X:

    prompts to image:   softmax(q (X Wk)^T) (X Wv) = (softmax((q Wk^T) X^T) X) Wv
    image to prompts:   softmax((X Wq) k^T) (v Wo) = softmax(X (Wq k^T)) (v Wo)

On the right the projections stand beside the prompt tokens, and the image tokens are multiplied by 8 T
columns instead of 128. A prompt of a box has T = 7: 290 MFLOP a pass for 1,024 image tokens instead of 670.
Beyond 11 points it is more work, not less. It is exact: a bias of the keys moves all scores of a query
alike, which softmax ignores, and since each head's weights sum to 1, the values' bias stays itself and an
output bias is divided among the heads.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glesam_export.rewrites.static_gle import constant


class _TokenSideAttention(nn.Module):
    """What both directions share: the projection of the image tokens, applied to the prompt tokens' own."""

    def __init__(self, heads: int, image_proj: nn.Linear, prompt_proj: nn.Linear) -> None:
        super().__init__()
        self.heads = heads
        self.prompt_proj = prompt_proj
        self.scale = (image_proj.out_features // heads) ** -0.5
        by_head = image_proj.weight.reshape(heads, -1, image_proj.in_features)
        self.image_weight = constant(by_head)  # [heads, d, C]

    def split_heads(self, x: Tensor) -> Tensor:
        """[N, T, heads d] -> [N, heads, T, d]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def scaled(self, tokens: Tensor) -> Tensor:
        """The prompt tokens' queries or keys, [N, heads, T, d]; scaled early: scores stay in fp16's range."""
        scaled: Tensor = self.prompt_proj(tokens) * self.scale
        return self.split_heads(scaled)


class TokenToImage(_TokenSideAttention):
    """SAM's `cross_attn_token_to_image`: prompt tokens attend to image tokens."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__(attention.num_heads, attention.k_proj, attention.q_proj)
        values: nn.Linear = attention.v_proj
        by_head = values.weight.reshape(self.heads, -1, values.in_features)
        self.values_weight, self.values_bias = constant(by_head.transpose(1, 2)), values.bias
        self.out_proj = attention.out_proj

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries [N, T, C], keys and values [N, image tokens, C] -> [N, T, C]."""
        projected = (self.scaled(queries) @ self.image_weight).flatten(1, 2)  # [N, heads T, C]
        attended = (projected @ keys.transpose(1, 2)).softmax(-1) @ values
        by_head = attended.reshape(attended.shape[0], self.heads, -1, attended.shape[2])
        heads = by_head @ self.values_weight  # [N, heads, T, d]
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2) + self.values_bias)
        return out


class ImageToToken(_TokenSideAttention):
    """SAM's `cross_attn_image_to_token`: image tokens attend to prompt tokens."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__(attention.num_heads, attention.q_proj, attention.k_proj)
        self.image_bias = constant(attention.q_proj.bias.reshape(self.heads, -1, 1))
        self.v_proj = attention.v_proj
        out: nn.Linear = attention.out_proj
        self.out_weight = constant(out.weight.T.reshape(self.heads, -1, out.out_features))
        self.out_bias = constant(out.bias / self.heads)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries [N, image tokens, C], keys and values [N, T, C] -> [N, image tokens, C]."""
        scaled = self.scaled(keys)
        projected = (scaled @ self.image_weight).flatten(1, 2)  # [N, heads T, C]
        scores = queries @ projected.transpose(1, 2)
        scores = scores + (scaled @ self.image_bias).reshape(keys.shape[0], 1, -1)
        weights = scores.reshape(*scores.shape[:2], self.heads, -1).softmax(-1).flatten(2)
        by_head = self.split_heads(self.v_proj(values)) @ self.out_weight
        return weights @ (by_head.flatten(1, 2) + self.out_bias)


class TokenSideTransformer(nn.Module):
    """SAM's TwoWayTransformer: prompt tokens and image tokens attend to each other."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        self.layers = transformer.layers
        self.to_image = nn.ModuleList(
            TokenToImage(layer.cross_attn_token_to_image) for layer in transformer.layers
        )
        self.to_tokens = nn.ModuleList(
            ImageToToken(layer.cross_attn_image_to_token) for layer in transformer.layers
        )
        self.last_to_image = TokenToImage(transformer.final_attn_token_to_image)
        self.last_norm = transformer.norm_final_attn

    def forward(self, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Both kinds of tokens after all layers, prompt tokens first.

        Args:
            image: the image tokens, [N, P, C].
            positions: their positional encodings, [1, P, C].
            tokens: the prompt tokens, [N, T, C].
        """
        x = tokens
        for layer, to_image, to_tokens in zip(self.layers, self.to_image, self.to_tokens, strict=True):
            x = layer.norm1(_self_attended(layer, x, tokens))
            placed = image + positions
            x = layer.norm2(x + to_image(x + tokens, placed, image))
            x = layer.norm3(x + layer.mlp(x))
            image = layer.norm4(image + to_tokens(placed, x + tokens, x))
        x = x + self.last_to_image(x + tokens, image + positions, image)
        return self.last_norm(x), image


def _self_attended(layer: Any, x: Tensor, tokens: Tensor) -> Tensor:  # noqa: ANN401
    """The first layer's tokens are their own positions, and no residual is added there."""
    attended: Tensor
    if layer.skip_first_layer_pe:
        attended = layer.self_attn(q=x, k=x, v=x)
        return attended
    placed = x + tokens
    attended = layer.self_attn(q=placed, k=placed, v=x)
    return x + attended
