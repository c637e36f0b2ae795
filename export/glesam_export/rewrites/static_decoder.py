"""SAM's mask decoder for one image size: prompts to masks, the same function with less work.

`glesam.decoding.decode` says what is computed. Here image tokens stay channels last, projections stand on
the side of the prompt tokens (token_side_attention.py), and masks are upscaled by products
(static_upscaling.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_STRIDE, NUM_MASKS
from glesam.decoding import embed_masks, embed_points
from glesam.sam import DenoisingTransformer
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_denoiser import DenoisedTokens
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_upscaling import ChannelsLastUpscaling
from glesam_export.rewrites.token_side_attention import TokenSideTransformer


def static_transformer(transformer: Any) -> nn.Module:  # noqa: ANN401 - segment-anything is untyped
    """The two-way transformer in its exportable form, with the denoiser that it may have."""
    static = TokenSideTransformer(transformer)
    if isinstance(transformer, DenoisingTransformer):
        return DenoisedTokens(static, transformer.denoiser)
    return static


class StaticDecoder(nn.Module):
    """`glesam.decoding.decode` of one image with `glesam.sam.TwoWayDecoder`, with native norms."""

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int
    ) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        encoder: Any = for_export(prompt_encoder)
        decoder: Any = for_export(mask_decoder)
        self.prompt_encoder = encoder
        self.side, self.refinements = side, refinements
        self.positions = constant(encoder.pe_layer((side, side)).flatten(1).T.unsqueeze(0))
        self.learned = constant(torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]))
        self.transformer = static_transformer(decoder.transformer)
        self.upscaling = ChannelsLastUpscaling(decoder.output_upscaling)
        self.weights = decoder.output_hypernetworks_mlps
        self.iou_head = decoder.iou_prediction_head

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        image_size = self.side * EMBEDDING_STRIDE
        sparse = embed_points(self.prompt_encoder, point_coords, point_labels, image_size)
        tokens = torch.cat([self.learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        source = image_embeddings + embed_masks(self.prompt_encoder, mask_input, has_mask_input)
        masks, ious = self._predict(source, tokens, NUM_MASKS)
        for _ in range(self.refinements):
            dense = embed_masks(self.prompt_encoder, masks[:, :1], torch.ones_like(has_mask_input))
            refined, refined_ious = self._predict(image_embeddings + dense, tokens, 1)
            masks = torch.cat([refined, masks[:, 1:]], dim=1)
            ious = torch.cat([refined_ious[:, :1], ious[:, 1:]], dim=1)
        return masks, ious

    def _predict(self, source: Tensor, tokens: Tensor, masks: int) -> tuple[Tensor, Tensor]:
        """The first `masks` of each prompt's four, [N, masks, S/4, S/4], and all four scores [N, 4]."""
        queries, image = self.transformer(source.flatten(2).transpose(1, 2), self.positions, tokens)
        weights = torch.stack([self.weights[i](queries[:, 1 + i]) for i in range(masks)], dim=1)
        return self.upscaling(image, weights, self.side), self.iou_head(queries[:, 0])
