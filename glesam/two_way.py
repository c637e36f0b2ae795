"""SAM's mask decoder for N prompts at once, and which of its mask heads are dead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE, NUM_MASKS
from glesam.ddim import DdimDenoiser
from glesam.decoding import ImageFeatures, MaskPredictor, embed_masks, embed_points, per_prompt
from glesam.nano.decoder import NanoDecoder
from glesam.sam_modules import MaskDecoder, TwoWayTransformer

DEAD_BELOW = 1e-3
"""Norm of a layer relative to the same layer's in head 0: no training leaves it there in a head it uses."""


class DenoisingTransformer(TwoWayTransformer):  # type: ignore[misc]  # segment-anything is untyped
    """SAM's two-way transformer, whose image tokens are denoised at its end (`glesam.ddim`)."""

    def __init__(self, **config: int) -> None:
        super().__init__(**config)
        self.denoiser = DdimDenoiser(config["embedding_dim"])

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens [N, 256, h, w] -> prompt tokens, and denoised image tokens [N, h w, 256]."""
        queries, keys = super().forward(image, image_pe, tokens)
        grid = keys.transpose(1, 2).reshape(image.shape)
        return queries, self.denoiser(grid).flatten(2).transpose(1, 2)


class TwoWayDecoder(MaskDecoder):  # type: ignore[misc]  # segment-anything is untyped
    """SAM's mask decoder, whose prompt and image tokens attend to each other, for N prompts at once."""

    num_high_res = 0

    def __init__(self, mlp_dim: int, denoise: bool = False) -> None:
        kind = DenoisingTransformer if denoise else TwoWayTransformer
        super().__init__(
            transformer_dim=EMBEDDING_CHANNELS,
            transformer=kind(depth=2, embedding_dim=EMBEDDING_CHANNELS, num_heads=8, mlp_dim=mlp_dim),
            num_multimask_outputs=NUM_MASKS - 1,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )

    def prepare(
        self, prompt_encoder: nn.Module, features: ImageFeatures, point_coords: Tensor, point_labels: Tensor
    ) -> MaskPredictor:
        """See `glesam.decoding.Decoder`; here every image token depends on the mask input."""
        encoder: Any = prompt_encoder
        image_embeddings, high_res = features.image_embeddings, features.high_res
        height, width = image_embeddings.shape[-2:]
        image_pe = encoder.pe_layer((height, width)).unsqueeze(0)
        sparse = embed_points(encoder, point_coords, point_labels, height * EMBEDDING_STRIDE)

        def predict(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
            dense = embed_masks(encoder, mask_input, has_mask_input)
            source = per_prompt(image_embeddings, dense.shape[0]) + dense
            return self.predict_all(source, image_pe, sparse, high_res)

        return predict

    def output_tokens(self) -> Tensor:
        """Learned tokens [T, 256] before a prompt's own; the last five are those of IoU and of four masks."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def upscale(self, source: Tensor, high_res: tuple[Tensor, ...]) -> Tensor:
        """Image tokens [N, 256, S/16, S/16] -> [N, 32, S/4, S/4]; SAM has no `high_res`."""
        upscaled: Tensor = self.output_upscaling(source)
        return upscaled

    def predict_all(
        self, source: Tensor, image_pe: Tensor, sparse: Tensor, high_res: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """All four masks of each prompt, as `MaskDecoder.predict_masks` computes them.

        Args:
            source: [N, 256, S/16, S/16], the sum of image and dense prompt embeddings.
            image_pe: [1, 256, S/16, S/16], the dense positional encoding.
            sparse: [N, P, 256].
            high_res: see `glesam.decoding.ImageFeatures`, of B images.

        Returns:
            low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].
        """
        weights, features, ious = self.mask_factors(source, image_pe, sparse, high_res)
        return masks_of(weights, features), ious

    def mask_factors(
        self, source: Tensor, image_pe: Tensor, sparse: Tensor, high_res: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `predict_all`, with the factors in the masks' place: see `masks_of`."""
        learned = self.output_tokens()
        tokens = torch.cat([learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        n, channels, height, width = source.shape
        tokens, source = self.transformer(source, image_pe.expand_as(source), tokens)
        tokens = tokens[:, len(learned) - NUM_MASKS - 1 :]
        upscaled = self.upscale(source.transpose(1, 2).reshape(n, channels, height, width), high_res)
        weights = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        return weights, upscaled, self.iou_prediction_head(tokens[:, 0])


def masks_of(weights: Tensor, features: Tensor) -> Tensor:
    """Products of the masks' weights [N, 4, C] and features [N, C, h, w]: [N, 4, h, w]."""
    return (weights @ features.flatten(2)).reshape(-1, NUM_MASKS, *features.shape[-2:])


def dead_mask_heads(mask_decoder: nn.Module) -> tuple[int, ...]:
    """Which of the heads 1 to 3 predict nothing: one of their layers is about 0.

    The authors trained their decoders with a single mask output; without a gradient, the weight decay
    that Adam couples to it has worn the other heads down. nano's decoder has no such heads.
    """
    if isinstance(mask_decoder, NanoDecoder):
        return ()
    decoder: Any = mask_decoder
    first, *others = [
        [float(layer.weight.detach().norm()) for layer in mlp.layers]
        for mlp in decoder.output_hypernetworks_mlps
    ]
    return tuple(
        head
        for head, norms in enumerate(others, 1)
        if any(norm < DEAD_BELOW * alive for norm, alive in zip(norms, first, strict=True))
    )
