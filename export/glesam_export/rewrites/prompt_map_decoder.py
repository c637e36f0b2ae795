"""nano's mask decoder: exported as it is written, for it is made of few and plain operators."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glesam.decoding import decode
from glesam_export.rewrites.native_layers import for_export


class PromptMapDecoderGraph(nn.Module):
    """`glesam.decoding.decode` of one image with `glesam.nano.decoder.NanoDecoder`."""

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int
    ) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        self.prompt_encoder, self.mask_decoder = prompt_encoder, for_export(mask_decoder)
        self.refinements = refinements

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        decoder: Any = self.mask_decoder
        prompts = point_coords, point_labels, mask_input, has_mask_input
        return decode(self.prompt_encoder, decoder, image_embeddings, *prompts, self.refinements)
