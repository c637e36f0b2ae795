"""RobustSAM (Chen et al., CVPR 2024): SAM whose decoder restores features and tokens of degraded pictures.

image -> encode -> image embeddings, early features -> enhance -> image embeddings, robust features
image embeddings, robust features -> decode (with prompts) -> masks

`encode` and `enhance` run once per image, `decode` for N prompts at once. The authors' decoder does all of
`enhance` again for every prompt, and takes one prompt per call.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle

from glesam.checkpoint_folder import SavedModel
from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE, NUM_MASKS, RobustSamConfig
from glesam.decoding import embed_masks, embed_points, per_prompt
from glesam.restorers.robust_features import MASK_CHANNELS, RobustImageFeatures, RobustMaskFeatures
from glesam.sam import build_image_encoder, build_prompt_encoder
from glesam.sam_modules import MLP
from glesam.two_way import TwoWayDecoder, masks_of

TOKEN_CHANNELS = EMBEDDING_CHANNELS // NUM_MASKS
"""Channels of an output token that AOTG reads."""
FINER = 4
"""Positions of the robust features per position of the embedding, along each axis."""
PACKED_CHANNELS = EMBEDDING_CHANNELS + MASK_CHANNELS * FINER**2
"""Channels that `RobustSam.decode` reads."""


class RobustSam(SavedModel):
    """SAM's encoders and RobustSAM's decoder; methods normalize, encode, enhance and decode, as `GleSam` has.

    S is the side of the model's input in px, `config.sam.image_size`; C is the width of the image encoder.
    Between the methods an image is one tensor, SAM's embedding and what RobustSAM adds to it.
    """

    config: RobustSamConfig
    config_type = RobustSamConfig

    def __init__(self, config: RobustSamConfig) -> None:
        super().__init__(config)
        encoder, decoder = cast(Any, config.sam.encoder), cast(Any, config.sam.decoder)  # kinds are checked
        self.encoder_width: int = encoder.embed_dim
        self.early_block = min(encoder.global_attn_indexes)
        self.image_encoder = build_image_encoder(encoder, config.sam.image_size)
        self.prompt_encoder = build_prompt_encoder(config.sam)
        self.mask_decoder = RobustDecoder(self.encoder_width, decoder.mlp_dim)

    def encode(self, image: Tensor) -> Tensor:
        """Normalized image -> image embeddings and early features, [B, 256 + C, S/16, S/16]."""
        return encode_with_early_features(self.image_encoder, image, self.early_block)

    def enhance(self, features: Tensor) -> Tensor:
        """What `encode` returns -> image embeddings and robust features, [B, 768, S/16, S/16].

        The last 512 channels are 32 at stride 4, in blocks of 4 x 4 positions.
        """
        embeddings, early = features.tensor_split([EMBEDDING_CHANNELS], dim=1)
        robust = self.mask_decoder.restore(embeddings, early)
        return torch.cat([embeddings, pixel_unshuffle(robust, FINER)], dim=1)

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """N prompts -> low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].

        Args:
            image_embeddings: what `enhance` returns, [B, 768, S/16, S/16].
            point_coords, point_labels, mask_input, has_mask_input: see `GleSam.decode`.
        """
        embeddings, packed = image_embeddings.tensor_split([EMBEDDING_CHANNELS], dim=1)
        prompts = point_coords, point_labels, mask_input, has_mask_input
        source, image_pe, sparse = self.embed_prompts(embeddings, *prompts)
        robust = per_prompt(pixel_shuffle(packed, FINER), source.shape[0])
        return self.mask_decoder.predict_robust(source, image_pe, sparse, robust)

    def embed_prompts(
        self,
        embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`source`, `image_pe` and `sparse` of `TwoWayDecoder.predict_all`, of N prompts as in `decode`.

        Args:
            embeddings: SAM's own, [B, 256, S/16, S/16].
        """
        side = embeddings.shape[-1]
        prompt_encoder: Any = self.prompt_encoder
        image_pe = prompt_encoder.pe_layer((side, side)).unsqueeze(0)
        sparse = embed_points(prompt_encoder, point_coords, point_labels, side * EMBEDDING_STRIDE)
        dense = embed_masks(prompt_encoder, mask_input, has_mask_input)
        return per_prompt(embeddings, dense.shape[0]) + dense, image_pe, sparse

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One normalized image [1, 3, S, S] and N prompts -> low_res_masks, iou_predictions."""
        features = self.enhance(self.encode(image))
        return self.decode(features, point_coords, point_labels, mask_input, has_mask_input)


def encode_with_early_features(image_encoder: Any, image: Tensor, block: int) -> Tensor:  # noqa: ANN401
    """SAM's image embeddings, and behind them the output of one of the encoder's blocks."""
    early = x = image_encoder.patch_embed(image) + image_encoder.pos_embed
    for index, layer in enumerate(image_encoder.blocks):
        x = layer(x)
        if index == block:
            early = x
    return torch.cat([image_encoder.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)], dim=1)


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
        weights, features, ious = self.robust_factors(source, image_pe, sparse, robust_features)
        return masks_of(weights, features), ious

    def robust_factors(
        self, source: Tensor, image_pe: Tensor, sparse: Tensor, robust_features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `TwoWayDecoder.mask_factors`, of the robust tokens and features."""
        learned = torch.cat([self.iou_token.weight, self.custom_robust_token.weight])
        tokens = torch.cat([learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        n, channels, height, width = source.shape
        tokens, source = self.transformer(source, image_pe.expand_as(source), tokens)
        upscaled = self.output_upscaling(source.transpose(1, 2).reshape(n, channels, height, width))
        features = self.fourier_mask_features(upscaled) + robust_features
        weights = self.robust_mlp(self.custom_token_block(tokens[:, 1 : 1 + NUM_MASKS]))
        return weights, features, self.iou_prediction_head(tokens[:, 0])
