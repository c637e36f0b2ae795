"""SAM's mask decoder for one image size: prompts to masks, the same function with less work.

`glesam.sam.decode` says what is computed. Here cells stay channels last, projections stand on the tokens'
side (token_side_attention.py), and masks are upscaled by products (static_upscaling.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_STRIDE, NUM_MASKS
from glesam.sam import embed_masks, embed_points
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_upscaling import ChannelsLastUpscaling
from glesam_export.rewrites.token_side_attention import TokenSideTransformer


class StaticDecoder(nn.Module):
    """`glesam.sam.decode` of one picture, with native norms (see `for_export`)."""

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, cells: int, refinements: int) -> None:  # noqa: ANN401
        """cells: per side, S / 16."""
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.cells, self.refinements = cells, refinements
        self.positions = constant(prompt_encoder.pe_layer((cells, cells)).flatten(1).T.unsqueeze(0))
        self.learned = constant(torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight]))
        self.transformer = TokenSideTransformer(mask_decoder.transformer)
        self.upscaling = ChannelsLastUpscaling(mask_decoder.output_upscaling)
        self.weights = mask_decoder.output_hypernetworks_mlps
        self.iou_head = mask_decoder.iou_prediction_head

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        image_size = self.cells * EMBEDDING_STRIDE
        sparse = embed_points(self.prompt_encoder, point_coords, point_labels, image_size)
        tokens = torch.cat([self.learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        source = image_embeddings + embed_masks(self.prompt_encoder, mask_input, has_mask_input)
        masks, ious = self._answer(source, tokens, NUM_MASKS)
        for _ in range(self.refinements):
            told = embed_masks(self.prompt_encoder, masks[:, :1], torch.ones_like(has_mask_input))
            again, iou = self._answer(image_embeddings + told, tokens, 1)
            masks = torch.cat([again, masks[:, 1:]], dim=1)
            ious = torch.cat([iou[:, :1], ious[:, 1:]], dim=1)
        return masks, ious

    def _answer(self, source: Tensor, tokens: Tensor, masks: int) -> tuple[Tensor, Tensor]:
        """The first `masks` of each prompt's four, [N, masks, S/4, S/4], and all four scores [N, 4]."""
        queries, cells = self.transformer(source.flatten(2).transpose(1, 2), self.positions, tokens)
        weights = torch.stack([self.weights[i](queries[:, 1 + i]) for i in range(masks)], dim=1)
        return self.upscaling(cells, weights, self.cells), self.iou_head(queries[:, 0])
