"""RobustSAM's mask decoder for one image size: the same function, in the operators of a bundle's graphs.

The last convolution of the prompts' AMFG and the masks' weights change places (`RobustMasks`): exact, and a
seventh of that convolution's work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, layer_norm, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE, NUM_MASKS
from glesam.decoding import embed_masks, embed_points
from glesam.restorers.robust_sam import FINER, TOKEN_CHANNELS
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_gle import constant
from glesam_export.rewrites.static_robust import StaticRobustFeatures
from glesam_export.rewrites.token_side_attention import TokenSideTransformer

TAPS = 9
"""Positions that a 3 x 3 convolution reads."""


class StaticRobustDecoder(nn.Module):
    """`RobustSam.decode` of one image."""

    def __init__(self, prompt_encoder: nn.Module, mask_decoder: nn.Module, side: int) -> None:
        """`side`: positions of the embedding per side, S / 16."""
        super().__init__()
        encoder: Any = for_export(prompt_encoder)
        decoder: Any = for_export(mask_decoder)
        self.prompt_encoder = encoder
        self.side = side
        self.positions = constant(encoder.pe_layer((side, side)).flatten(1).T.unsqueeze(0))
        self.learned = constant(torch.cat([decoder.iou_token.weight, decoder.custom_robust_token.weight]))
        self.transformer = TokenSideTransformer(decoder.transformer)
        self.upscaling = decoder.output_upscaling
        self.mask_features = StaticRobustFeatures(decoder.fourier_mask_features, 4 * side)
        self.first_layer, norm, activation, last = decoder.fourier_mask_features.downsample_layer
        self.masks = RobustMasks(norm, activation, last, 4 * side)
        self.token_mlp, self.weights = decoder.custom_token_block.mlp, decoder.robust_mlp
        self.iou_head = decoder.iou_prediction_head

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        embeddings, robust = image_embeddings.tensor_split([EMBEDDING_CHANNELS], dim=1)
        sparse = embed_points(self.prompt_encoder, point_coords, point_labels, self.side * EMBEDDING_STRIDE)
        tokens = torch.cat([self.learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        source = embeddings + embed_masks(self.prompt_encoder, mask_input, has_mask_input)
        tokens, image = self.transformer(source.flatten(2).transpose(1, 2), self.positions, tokens)
        upscaled = self.upscaling(image.transpose(1, 2).reshape(-1, image.shape[2], self.side, self.side))
        # one by one: a bundle's reader follows no slice within the dynamic axis
        outputs = torch.stack([tokens[:, 1 + i] for i in range(NUM_MASKS)], dim=1)
        features = self.first_layer(self.mask_features(upscaled))
        masks = self.masks(self._robust_weights(outputs), features, robust)
        return masks, self.iou_head(tokens[:, 0])

    def _robust_weights(self, tokens: Tensor) -> Tensor:
        """Output tokens [N, 4, 256] -> weights of the mask features [N, 4, 32]."""
        normed = layer_norm(layer_norm(tokens, tokens.shape[-1:]), tokens.shape[-1:])
        weights: Tensor = self.weights(self.token_mlp(normed[..., :TOKEN_CHANNELS]))
        return weights


class RobustMasks(nn.Module):
    """Norm, activation and last 3 x 3 convolution of the prompts' AMFG, the image's features, and the masks.

    The masks' weights meet the convolution's before the features do. Nine values of each mask at a position,
    one for each tap, are then all that is left of the convolution's 32 channels, and a sum of shifted ones.
    """

    def __init__(self, norm: nn.Module, activation: nn.Module, convolution: nn.Module, side: int) -> None:
        """`convolution`: 64 channels to 32; `side`: positions of the masks per side, S / 4."""
        super().__init__()
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        self.norm, self.activation = norm, activation
        self.side, self.channels = side, weight.shape[1]
        # [32, 64, 3, 3] -> [32, 9 x 64]
        self.taps = constant(weight.flatten(2).transpose(1, 2).flatten(1))
        self.bias = constant(bias.unsqueeze(1))
        shifts = torch.eye(TAPS, dtype=weight.dtype).reshape(TAPS, 3, 3)
        self.shifts = constant(shifts.repeat(NUM_MASKS, 1, 1, 1))

    def forward(self, weights: Tensor, features: Tensor, robust_features: Tensor) -> Tensor:
        """Masks' weights [N, 4, 32] and features of prompts [N, 64, H, W] -> masks [N, 4, H, W].

        `robust_features`: the image's, [1, 512, H/4, W/4], as `RobustSam.enhance` packs them.
        """
        of_taps = (weights @ self.taps).reshape(-1, NUM_MASKS * TAPS, self.channels)
        last = self.activation(self._normed(features)).flatten(1, 2)  # channels last
        maps = (of_taps @ last.transpose(1, 2)).reshape(-1, NUM_MASKS * TAPS, self.side, self.side)
        masks = conv2d(maps, self.shifts, padding=1, groups=NUM_MASKS)
        coarse = self.side // FINER
        image = weights @ robust_features.reshape(1, weights.shape[2], -1) + weights @ self.bias
        return masks + pixel_shuffle(image.reshape(-1, NUM_MASKS * FINER**2, coarse, coarse), FINER)

    def _normed(self, x: Tensor) -> Tensor:
        weight = self.norm.get_parameter("weight")
        eps: Any = self.norm.eps
        return layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, self.norm.get_parameter("bias"), eps)
