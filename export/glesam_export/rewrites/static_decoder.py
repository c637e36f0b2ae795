"""SAM's mask decoder for one image size: prompts to masks, the same function with less work.

`glesam.decoding.decode` says what is computed. Here image tokens stay channels last, projections stand on
the side of the prompt tokens (token_side_attention.py), and masks are upscaled by products
(static_upscaling.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_STRIDE, NUM_MASKS
from glesam.decoding import embed_masks, embed_points
from glesam.two_way import DenoisingTransformer
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_denoiser import DenoisedTokens
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_stability import Stability, stable_masks
from glesam_export.rewrites.static_upscaling import ChannelsLastUpscaling, HighResUpscaling
from glesam_export.rewrites.token_side_attention import TokenSideTransformer

Upscale = Callable[[Tensor, Tensor], Tensor]
"""Image tokens [N, side side, 256] and weights [N, M, 32] -> masks [N, M, 4 side, 4 side]."""


def static_transformer(transformer: Any) -> nn.Module:  # noqa: ANN401 - segment-anything is untyped
    """The two-way transformer in its exportable form, with the denoiser that it may have."""
    static = TokenSideTransformer(transformer)
    if isinstance(transformer, DenoisingTransformer):
        return DenoisedTokens(static, transformer.denoiser)
    return static


class StaticTwoWay(nn.Module):
    """What the graphs of SAM's and SAM 2's decoders share: all but the inputs and the kind of upscaling."""

    refined_masks = 1
    """Number of masks that a refinement predicts."""
    upscaling_type = ChannelsLastUpscaling
    """Kind of the upscaling."""

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
        self.learned = constant(decoder.output_tokens())
        self.iou_index = len(self.learned) - NUM_MASKS - 1
        self.transformer = static_transformer(decoder.transformer)
        self.weights = decoder.output_hypernetworks_mlps
        self.iou_head = decoder.iou_prediction_head
        self.upscaling = self.upscaling_type(decoder.output_upscaling)

    def decode(
        self,
        image_embeddings: Tensor,
        upscale: Upscale,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Prompts to masks as `glesam.decoding.decode`; `upscale` makes masks of image tokens and weights."""
        image_size = self.side * EMBEDDING_STRIDE
        sparse = embed_points(self.prompt_encoder, point_coords, point_labels, image_size)
        tokens = torch.cat([self.learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        source = image_embeddings + embed_masks(self.prompt_encoder, mask_input, has_mask_input)
        masks, ious = self._predict(source, upscale, tokens, NUM_MASKS)
        for _ in range(self.refinements):
            dense = embed_masks(self.prompt_encoder, masks[:, :1], torch.ones_like(has_mask_input))
            refined, refined_ious = self._predict(
                image_embeddings + dense, upscale, tokens, self.refined_masks
            )
            masks = torch.cat([refined[:, :1], masks[:, 1:]], dim=1)
            ious = torch.cat([refined_ious[:, :1], ious[:, 1:]], dim=1)
        return masks, ious

    def choose(self, masks: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
        """What becomes of the predicted masks; SAM's stay as they are."""
        return masks, ious

    def _predict(self, source: Tensor, upscale: Upscale, tokens: Tensor, masks: int) -> tuple[Tensor, Tensor]:
        """The first `masks` of each prompt's four, [N, masks, S/4, S/4], and all four scores [N, 4]."""
        queries, image = self.transformer(source.flatten(2).transpose(1, 2), self.positions, tokens)
        first = self.iou_index
        weights = torch.stack([self.weights[i](queries[:, first + 1 + i]) for i in range(masks)], dim=1)
        return self.choose(upscale(image, weights), self.iou_head(queries[:, first]))


class StaticDecoder(StaticTwoWay):
    """`glesam.decoding.decode` of one image with `glesam.two_way.TwoWayDecoder`, with native norms."""

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        def upscale(image: Tensor, weights: Tensor) -> Tensor:
            masks: Tensor = self.upscaling(image, weights, self.side)
            return masks

        return self.decode(image_embeddings, upscale, point_coords, point_labels, mask_input, has_mask_input)


class StaticHighResDecoder(StaticTwoWay):
    """`glesam.decoding.decode` of one image with `glesam.sam2.HighResDecoder`: SAM 2's."""

    refined_masks = NUM_MASKS  # the best of masks 1 to 3 may take the place of mask 0 again
    upscaling_type = HighResUpscaling
    upscaling: HighResUpscaling

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int
    ) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__(prompt_encoder, mask_decoder, side, refinements)
        decoder: Any = mask_decoder
        config = decoder.config
        self.stability = (
            Stability(config.stability_delta, config.stability_threshold)
            if config.dynamic_multimask
            else None
        )
        self.no_mem_embed = (
            constant(decoder.no_mem_embed.reshape(1, -1, 1, 1)) if decoder.adds_no_mem_embed else None
        )

    def forward(
        self,
        image_embeddings: Tensor,
        high_res_s0: Tensor,
        high_res_s1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        fine, middle = self.upscaling.ordered(high_res_s0, 4), self.upscaling.ordered(high_res_s1, 2)
        if self.no_mem_embed is not None:
            image_embeddings = image_embeddings + self.no_mem_embed

        def upscale(image: Tensor, weights: Tensor) -> Tensor:
            masks: Tensor = self.upscaling(image, weights, self.side, fine, middle)
            return masks

        return self.decode(image_embeddings, upscale, point_coords, point_labels, mask_input, has_mask_input)

    def choose(self, masks: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
        """Replaces an unstable mask 0, where the configuration says so."""
        return (masks, ious) if self.stability is None else stable_masks(masks, ious, self.stability)
