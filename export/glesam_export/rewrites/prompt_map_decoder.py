"""nano's mask decoder: exported as it is written, but for one layer that others take in.

Every prompt's kernel K over the shared keys meets the same 1 x 1 convolution (M, m) of them:

    K keys + (M keys + m) = (K + M) keys + m

M goes into the bias of the layer that makes K, and m into the bias of the convolution of the drawn maps: one
pass less over each prompt's features at stride 8. A denoiser becomes a static one (static_denoiser.py).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glesam.decoding import decode
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_denoiser import StaticDenoiser
from glesam_export.rewrites.static_gle import constant


class PromptMapDecoderGraph(nn.Module):
    """`glesam.decoding.decode` of one image with `glesam.nano.decoder.NanoDecoder`."""

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int, refinements: int
    ) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        self.prompt_encoder, self.mask_decoder = prompt_encoder, for_export(mask_decoder)
        fold_shared_kernel(self.mask_decoder)
        fold_denoiser(self.mask_decoder)
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


def fold_shared_kernel(mask_decoder: nn.Module) -> None:
    """Folds `look.middle` of a `NanoDecoder`, in place; the tensors that it shares stay as they are."""
    decoder: Any = mask_decoder
    shared, kernel, prompt = decoder.look.middle, decoder.appearance, decoder.middle_prompt
    kernel.bias = constant(kernel.bias + shared.weight.flatten())
    prompt.bias = constant(prompt.bias + shared.bias)
    decoder.look.middle = None


def fold_denoiser(mask_decoder: nn.Module) -> None:
    """Folds the denoiser of a `NanoDecoder` that has one, in place."""
    decoder: Any = mask_decoder
    if decoder.denoiser is not None:
        decoder.denoiser = StaticDenoiser(decoder.denoiser)
