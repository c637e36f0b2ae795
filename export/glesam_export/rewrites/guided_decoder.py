"""nano's mask decoder for one image size: exported as it is written, but for its upscaling."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glesam.decoding import decode
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_upscaling import ImageUpscaling


class GuidedDecoderGraph(nn.Module):
    """`glesam.decoding.decode` of one image with `glesam.nano.decoder.GuidedDecoder`."""

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int
    ) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        encoder: Any = for_export(prompt_encoder)
        self.positions = constant(encoder.pe_layer((side, side)))
        encoder.pe_layer.forward = lambda size: self.positions
        decoder: Any = for_export(mask_decoder)
        decoder.output_upscaling = ImageUpscaling(decoder.output_upscaling)
        self.prompt_encoder, self.mask_decoder = encoder, decoder
        self.refinements = refinements

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        parts = self.prompt_encoder, self.mask_decoder
        prompts = point_coords, point_labels, mask_input, has_mask_input
        return decode(*parts, image_embeddings, *prompts, self.refinements)
