"""The mask decoder for one image size: prompts to masks, the same function with less work.

`glesam.sam.decode` says what is computed. Here cells stay channels last, projections stand on the tokens'
side (token_side_attention.py), masks are upscaled by products (static_upscaling.py), and what a guide sees of
the picture is seen once (static_guide.py). nano's answer to one box takes 2.2 GFLOP instead of 3.4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_STRIDE
from glesam.sam import NUM_MASKS, embed_masks, embed_points
from glesam_export.static_gle import constant
from glesam_export.static_guide import StaticGuide
from glesam_export.static_upscaling import ChannelsLastUpscaling, WeightedConvolution
from glesam_export.token_side_attention import TokenSideTransformer


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
        guide = getattr(mask_decoder, "guide", None)
        self.source: Any = PlainSource(prompt_encoder)
        self.details: nn.Module | None = None
        if guide is not None:
            self.source = StaticGuide(guide, prompt_encoder.mask_downscaling)
            self.details = WeightedConvolution(guide.detail[-1])

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
        picture = self.source.look(image_embeddings, point_coords, point_labels)
        masks, ious = self._answer(self.source(picture, mask_input, has_mask_input), tokens, NUM_MASKS)
        for _ in range(self.refinements):
            source = self.source(picture, masks[:, :1], torch.ones_like(has_mask_input))
            again, iou = self._answer(source, tokens, 1)
            masks = torch.cat([again, masks[:, 1:]], dim=1)
            ious = torch.cat([iou[:, :1], ious[:, 1:]], dim=1)
        return masks, ious

    def _answer(
        self, source: tuple[Tensor, Tensor | None], tokens: Tensor, masks: int
    ) -> tuple[Tensor, Tensor]:
        """The first `masks` of each prompt's four, [N, masks, S/4, S/4], and all four scores [N, 4]."""
        cells, hidden = source
        queries, cells = self.transformer(cells.flatten(2).transpose(1, 2), self.positions, tokens)
        weights = torch.stack([self.weights[i](queries[:, 1 + i]) for i in range(masks)], dim=1)
        low_res_masks = self.upscaling(cells, weights, self.cells)
        if self.details is not None:
            low_res_masks = low_res_masks + self.details(hidden, weights, 4 * self.cells)
        return low_res_masks, self.iou_head(queries[:, 0])


class PlainSource(nn.Module):
    """What the transformer of SAM's own decoder reads: the embeddings and the dense prompt."""

    def __init__(self, prompt_encoder: Any) -> None:  # noqa: ANN401 - segment-anything is untyped
        super().__init__()
        self.prompt_encoder = prompt_encoder

    def look(self, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        return image_embeddings

    def forward(self, picture: Tensor, mask_input: Tensor, has_mask: Tensor) -> tuple[Tensor, None]:
        return picture + embed_masks(self.prompt_encoder, mask_input, has_mask), None
