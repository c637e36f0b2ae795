"""RobustSAM (Chen et al., CVPR 2024): SAM whose decoder restores features and tokens of degraded pictures.

image -> encode -> image embeddings, early features -> restore -> robust features
image embeddings, robust features -> decode (with prompts) -> masks

`encode` and `restore` run once per image, `decode` for N prompts at once. The authors' decoder does all of
`restore` again for every prompt, and takes one prompt per call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from glesam.config import (
    EMBEDDING_CHANNELS,
    EMBEDDING_STRIDE,
    NUM_MASKS,
    SamConfig,
    TwoWayDecoderConfig,
    VitEncoderConfig,
)
from glesam.decoding import embed_masks, embed_points, per_prompt
from glesam.restorers.robust_features import MASK_CHANNELS, RobustImageFeatures, RobustMaskFeatures
from glesam.sam import TwoWayDecoder, build_image_encoder, build_prompt_encoder
from glesam.sam_modules import MLP
from glesam_runtime.errors import InputError

TOKEN_CHANNELS = EMBEDDING_CHANNELS // NUM_MASKS
"""Channels of an output token that AOTG reads."""


class RobustSam(nn.Module):
    """SAM's encoders and RobustSAM's decoder; methods normalize, encode, restore and decode.

    S is the side of the model's input in px, `config.image_size`, a multiple of 64; C is the width of the
    image encoder.
    """

    def __init__(self, config: SamConfig) -> None:
        """Raises InputError where `config` is not of SAM's own networks."""
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        if not isinstance(encoder, VitEncoderConfig) or not isinstance(decoder, TwoWayDecoderConfig):
            raise InputError(
                f"RobustSAM reads the global attention of a ViT, found {encoder.kind} with {decoder.kind}; "
                "use vit_b, vit_l or vit_h"
            )
        self.config = config
        self.early_block = min(encoder.global_attn_indexes)
        self.image_encoder = build_image_encoder(encoder, config.image_size)
        self.prompt_encoder = build_prompt_encoder(config)
        self.mask_decoder = RobustDecoder(encoder.embed_dim, decoder.mlp_dim)

    def normalize(self, image: Tensor) -> Tensor:
        """RGB float [B, 3, S, S] in [0, 255] -> SAM's normalized input."""
        mean = image.new_tensor(self.config.pixel_mean).reshape(3, 1, 1)
        std = image.new_tensor(self.config.pixel_std).reshape(3, 1, 1)
        return (image - mean) / std

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized image -> image embeddings [B, 256, S/16, S/16], early features [B, C, S/16, S/16]."""
        return encode_with_early_features(self.image_encoder, image, self.early_block)

    def restore(self, image_embeddings: Tensor, early_features: Tensor) -> Tensor:
        """Both outputs of `encode` -> robust features [B, 32, S/4, S/4]."""
        return self.mask_decoder.restore(image_embeddings, early_features)

    def decode(
        self,
        image_embeddings: Tensor,
        robust_features: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """N prompts -> low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].

        Args:
            robust_features: what `restore` returns, [B, 32, S/4, S/4].
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input: see `GleSam.decode`.
        """
        side = image_embeddings.shape[-1]
        prompt_encoder: Any = self.prompt_encoder
        image_pe = prompt_encoder.pe_layer((side, side)).unsqueeze(0)
        sparse = embed_points(prompt_encoder, point_coords, point_labels, side * EMBEDDING_STRIDE)
        dense = embed_masks(prompt_encoder, mask_input, has_mask_input)
        prompts = dense.shape[0]
        source = per_prompt(image_embeddings, prompts) + dense
        return self.mask_decoder.predict_robust(
            source, image_pe, sparse, per_prompt(robust_features, prompts)
        )

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One normalized image [1, 3, S, S] and N prompts -> low_res_masks, iou_predictions."""
        embeddings, early = self.encode(image)
        features = self.restore(embeddings, early)
        return self.decode(embeddings, features, point_coords, point_labels, mask_input, has_mask_input)


def encode_with_early_features(image_encoder: Any, image: Tensor, block: int) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """SAM's image encoder, and the output of one of its blocks, channels first."""
    early = x = image_encoder.patch_embed(image) + image_encoder.pos_embed
    for index, layer in enumerate(image_encoder.blocks):
        x = layer(x)
        if index == block:
            early = x
    return image_encoder.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


class TokenBlock(nn.Module):
    """AOTG (anti-degradation output token generation): output tokens [N, M, 256] in and out.

    The authors normalize a token twice, and run the MLP on each quarter of its channels, which makes four
    masks of every token. They return the one of the first quarter, so only that is computed here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_CHANNELS, TOKEN_CHANNELS),
            nn.ReLU(),
            nn.Linear(TOKEN_CHANNELS, EMBEDDING_CHANNELS),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        normed = layer_norm(layer_norm(tokens, tokens.shape[-1:]), tokens.shape[-1:])
        robust: Tensor = self.mlp(normed[..., :TOKEN_CHANNELS])
        return robust


class RobustDecoder(TwoWayDecoder):
    """SAM's mask decoder with robust output tokens (ROT), AOTG for them and AMFG for the features."""

    def __init__(self, encoder_width: int, mlp_dim: int) -> None:
        super().__init__(mlp_dim)
        self.custom_robust_token = nn.Embedding(NUM_MASKS, EMBEDDING_CHANNELS)
        self.robust_mlp = MLP(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, MASK_CHANNELS, 3)
        self.fourier_mask_features = RobustMaskFeatures()
        self.fourier_first_layer_features = RobustImageFeatures(encoder_width)
        self.fourier_last_layer_features = RobustImageFeatures(EMBEDDING_CHANNELS)
        self.custom_token_block = TokenBlock()

    def restore(self, image_embeddings: Tensor, early_features: Tensor) -> Tensor:
        """The part of the robust features that depends on the image alone: [B, 32, S/4, S/4]."""
        early: Tensor = self.fourier_first_layer_features(early_features)
        last: Tensor = self.fourier_last_layer_features(image_embeddings)
        return early + last

    def predict_robust(
        self, source: Tensor, image_pe: Tensor, sparse: Tensor, robust_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The masks of the robust tokens.

        Mask 0 is the authors' single mask, masks 0 to 3 are the first four of the sixteen that they compute.

        Args:
            source, image_pe, sparse: see `TwoWayDecoder.predict_all`.
            robust_features: [N or 1, 32, S/4, S/4], of `restore`.

        Returns:
            low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].
        """
        learned = torch.cat([self.iou_token.weight, self.custom_robust_token.weight])
        tokens = torch.cat([learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        n, channels, height, width = source.shape
        tokens, source = self.transformer(source, image_pe.expand_as(source), tokens)
        upscaled = self.output_upscaling(source.transpose(1, 2).reshape(n, channels, height, width))
        features = self.fourier_mask_features(upscaled) + robust_features
        weights = self.robust_mlp(self.custom_token_block(tokens[:, 1 : 1 + NUM_MASKS]))
        masks = (weights @ features.flatten(2)).unflatten(2, features.shape[-2:])
        return masks, self.iou_prediction_head(tokens[:, 0])
