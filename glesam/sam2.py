"""SAM 2's networks for images: Hiera with its feature pyramid, and the decoder that reads finer features.

Hiera is transformers'. The prompt encoder is SAM's own, unchanged in SAM 2, and so is most of the decoder.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

from glesam.config import (
    EMBEDDING_CHANNELS,
    NUM_MASKS,
    HieraEncoderConfig,
    HighResDecoderConfig,
    NoMemEmbed,
)
from glesam.decoding import ImageFeatures, MaskPredictor, per_prompt
from glesam.sam_modules import MLP
from glesam.two_way import TwoWayDecoder

HIGH_RES_CHANNELS = (EMBEDDING_CHANNELS // 8, EMBEDDING_CHANNELS // 4)
"""Channels of the high-resolution features at strides 4 and 8."""


class HieraEncoder(nn.Module):
    """Image float32 [B, 3, S, S], normalized -> embedding and high-resolution features of SAM 2.

    The two projections of the high-resolution features are SAM 2's decoder's, but run once per image.
    """

    def __init__(self, config: HieraEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Sam2HieraDetModel(_hiera_config(config))
        self.stage_ends = {end - 1 for end in accumulate(config.stages)}
        self.neck = FeaturePyramid(_widths(config), config.top_down_levels)
        self.conv_s0 = nn.Conv2d(EMBEDDING_CHANNELS, HIGH_RES_CHANNELS[0], 1)
        self.conv_s1 = nn.Conv2d(EMBEDDING_CHANNELS, HIGH_RES_CHANNELS[1], 1)
        if config.no_mem_embed == "before_gle":
            self.no_mem_embed = no_mem_embed()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns embeddings [B, 256, S/16, S/16], then [B, 32, S/4, S/4] and [B, 64, S/8, S/8]."""
        fine, middle, embeddings, _ = self.neck(self.stages(image))
        if self.config.no_mem_embed == "before_gle":
            embeddings = embeddings + self.no_mem_embed.reshape(1, -1, 1, 1)
        return embeddings, self.conv_s0(fine), self.conv_s1(middle)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Hiera's four outputs, finest first: [B, S/4, S/4, C] to [B, S/32, S/32, 8C]."""
        x = self.backbone.patch_embed(image)
        x = x + self.positions(x.shape[1])
        outputs = []
        for index, block in enumerate(self.backbone.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x)
        return outputs

    def positions(self, side: int) -> Tensor:
        """Position embedding [1, side, side, C]: a stretched background, and one window repeated over it."""
        window = self.backbone.pos_embed_window
        repeats = side // window.shape[-1]
        background = interpolate(self.backbone.pos_embed, size=(side, side), mode="bicubic")
        return (background + window.tile((1, 1, repeats, repeats))).permute(0, 2, 3, 1)


class FeaturePyramid(nn.Module):
    """SAM 2's neck: each stage is projected to 256 channels, and some receive the next coarser one."""

    def __init__(self, widths: list[int], top_down_levels: tuple[int, ...]) -> None:
        """`widths`: channels of the stages, finest first; `convs` are stored coarsest first, as SAM 2's."""
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, EMBEDDING_CHANNELS, 1) for width in reversed(widths))
        self.top_down_levels = top_down_levels

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """[B, h, w, C] of each stage -> [B, 256, h, w], both finest first."""
        levels: list[Tensor] = []
        coarsest = len(stages) - 1
        for level, conv in zip(range(coarsest, -1, -1), self.convs, strict=True):
            x = conv(stages[level].permute(0, 3, 1, 2))
            if level != coarsest and level in self.top_down_levels:
                x = x + interpolate(levels[0], scale_factor=2.0, mode="nearest")
            levels.insert(0, x)
        return levels


class HighResDecoder(TwoWayDecoder):
    """SAM 2's mask decoder for images: SAM's with high-resolution features and a token of the object score.

    The object score itself, which SAM 2 uses in videos alone, is not computed; its weights are kept.
    """

    num_high_res = len(HIGH_RES_CHANNELS)

    def __init__(self, config: HighResDecoderConfig, no_mem_embed_place: NoMemEmbed) -> None:
        super().__init__(config.mlp_dim)
        self.config = config
        self.iou_prediction_head.sigmoid_output = True
        self.obj_score_token = nn.Embedding(1, EMBEDDING_CHANNELS)
        self.pred_obj_score_head = MLP(EMBEDDING_CHANNELS, EMBEDDING_CHANNELS, 1, 3)
        self.adds_no_mem_embed = no_mem_embed_place == "after_gle"
        if self.adds_no_mem_embed:
            self.no_mem_embed = no_mem_embed()

    def prepare(
        self, prompt_encoder: nn.Module, features: ImageFeatures, point_coords: Tensor, point_labels: Tensor
    ) -> MaskPredictor:
        """See `glesam.decoding.Decoder`; mask 0 is replaced where it is unstable, but not in training."""
        if self.adds_no_mem_embed:
            embeddings = features.image_embeddings + self.no_mem_embed.reshape(1, -1, 1, 1)
            features = replace(features, image_embeddings=embeddings)
        predict = super().prepare(prompt_encoder, features, point_coords, point_labels)
        if self.training or not self.config.dynamic_multimask:
            return predict
        config = self.config
        return lambda *mask_inputs: stable_masks(
            *predict(*mask_inputs), config.stability_delta, config.stability_threshold
        )

    def output_tokens(self) -> Tensor:
        """See `TwoWayDecoder`; the object score's token comes first."""
        return torch.cat([self.obj_score_token.weight, super().output_tokens()])

    def upscale(self, source: Tensor, high_res: tuple[Tensor, ...]) -> Tensor:
        """[N, 256, S/16, S/16] -> [N, 32, S/4, S/4]; `high_res` is added before each activation."""
        fine, middle = (per_prompt(features, len(source)) for features in high_res)
        to_middle, norm, act, to_fine, last_act = self.output_upscaling
        upscaled = act(norm(to_middle(source) + middle))
        finest: Tensor = last_act(to_fine(upscaled) + fine)
        return finest


def stable_masks(
    masks: Tensor, ious: Tensor, stability_delta: float, stability_threshold: float
) -> tuple[Tensor, Tensor]:
    """Replaces mask 0 of each prompt by the best of masks 1 to 3 where its stability is below the threshold.

    Stability is the ratio of mask 0's areas above `stability_delta` and above its negative, 1 where both are
    empty. This is SAM 2's dynamic multimask output, on in its official predictor.

    Args:
        masks: [N, 4, h, w], logits.
        ious: [N, 4].
    """
    inner = (masks[:, 0] > stability_delta).flatten(1).sum(1).float()
    outer = (masks[:, 0] > -stability_delta).flatten(1).sum(1).float()
    stable = torch.where(outer > 0, inner / outer, 1.0) >= stability_threshold
    chosen = torch.where(stable, 0, 1 + ious[:, 1:].argmax(1)).unsqueeze(1)
    one_hot = chosen == torch.arange(NUM_MASKS, device=chosen.device)  # [N, 4]
    best_mask = torch.where(one_hot[:, :, None, None], masks, 0).sum(1, keepdim=True)
    best_iou = torch.where(one_hot, ious, 0).sum(1, keepdim=True)
    return torch.cat([best_mask, masks[:, 1:]], 1), torch.cat([best_iou, ious[:, 1:]], 1)


def no_mem_embed() -> nn.Parameter:
    """SAM 2's mark of an image that has no frames before it, [1, 1, 256]; added to the image embedding."""
    return nn.Parameter(torch.zeros(1, 1, EMBEDDING_CHANNELS))


def _widths(config: HieraEncoderConfig) -> list[int]:
    return [config.embed_dim << stage for stage in range(len(config.stages))]


def _hiera_config(config: HieraEncoderConfig) -> Sam2HieraDetConfig:
    return Sam2HieraDetConfig(
        hidden_size=config.embed_dim,
        num_attention_heads=config.num_heads,
        window_positional_embedding_background_size=[config.background_size] * 2,
        blocks_per_stage=list(config.stages),
        embed_dim_per_stage=_widths(config),
        num_attention_heads_per_stage=[config.num_heads << stage for stage in range(len(config.stages))],
        window_size_per_stage=list(config.window_sizes),
        global_attention_blocks=list(config.global_attn_indexes),
    )
