"""transformers' Sam2Model, eager, with GLE in PyTorch: SAM 2 as its users run it, behind our Predictor."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from transformers.models.sam2.configuration_sam2 import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2.modeling_sam2 import Sam2Model

from glesam.config import NUM_MASKS, HieraEncoderConfig, HighResDecoderConfig, SamConfig
from glesam.model import GleSam
from glesam.official.sam2 import POINTS, from_transformers
from glesam.reference import reference_manifest, torch_engine, torch_engines
from glesam_runtime import Predictor


def eager_predictor(model: GleSam) -> Predictor:
    """Returns a predictor whose encoder and decoder are transformers' and whose GLE is unmerged.

    Pictures and masks are resized as for every other contender: transformers' own processor needs
    torchvision.
    """
    theirs, manifest = transformers_sam2(model), reference_manifest(model)
    contract = manifest.contract()

    def encode(image: Tensor) -> tuple[Tensor, ...]:
        fine, middle, embeddings = theirs.get_image_embeddings(image)
        return embeddings, fine, middle

    def decode(
        image_embeddings: Tensor,
        high_res_s0: Tensor,
        high_res_s1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The single masks, four times each; the last point is padding, which transformers adds itself."""
        answer = theirs(
            image_embeddings=[high_res_s0, high_res_s1, image_embeddings],
            input_points=point_coords[None, :, :-1],
            input_labels=point_labels[None, :, :-1],
            multimask_output=False,
        )
        masks, scores = answer.pred_masks[0], answer.iou_scores[0]
        return masks.expand(-1, NUM_MASKS, -1, -1), scores.expand(-1, NUM_MASKS)

    engines = replace(
        torch_engines(model),
        image_encoder=torch_engine(contract["image_encoder"], encode),
        mask_decoder=torch_engine(contract["mask_decoder"], decode),
    )
    return Predictor(manifest, engines)


def transformers_sam2(model: GleSam) -> Sam2Model:
    """Returns transformers' model with this model's tensors, its attention eager."""
    encoder = model.config.sam.encoder
    if not isinstance(encoder, HieraEncoderConfig) or encoder.no_mem_embed != "before_gle":
        raise SystemExit(
            f"error: expected a SAM 2 whose encoder adds no_mem_embed, as transformers' does, found {encoder}"
        )
    config = transformers_config(model.config.sam, encoder)
    config._attn_implementation = "eager"
    theirs: Sam2Model = Sam2Model(config).requires_grad_(False)
    own = model.state_dict()
    tensors: dict[str, Tensor] = {}
    for name in theirs.state_dict():
        if name == POINTS:
            points = [own[f"prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)]
            tensors[name] = torch.cat(points)
        else:
            (ours,) = from_transformers({name: torch.empty(0)}, encoder.no_mem_embed)
            tensors[name] = own[ours]
    theirs.load_state_dict(tensors)
    theirs.train(False)
    return theirs


def transformers_config(sam: SamConfig, encoder: HieraEncoderConfig) -> Sam2Config:
    """Returns transformers' configuration of the same networks."""
    assert isinstance(sam.decoder, HighResDecoderConfig)
    size, widths = sam.image_size, [encoder.embed_dim << stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=encoder.embed_dim,
        num_attention_heads=encoder.num_heads,
        image_size=[size, size],
        window_positional_embedding_background_size=[encoder.background_size] * 2,
        blocks_per_stage=list(encoder.stages),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[encoder.num_heads << stage for stage in range(4)],
        window_size_per_stage=list(encoder.window_sizes),
        global_attention_blocks=list(encoder.global_attn_indexes),
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[size // stride] * 2 for stride in (4, 8, 16)],
        fpn_top_down_levels=list(encoder.top_down_levels),
    )
    decoder = Sam2MaskDecoderConfig(
        mlp_dim=sam.decoder.mlp_dim,
        dynamic_multimask_via_stability=sam.decoder.dynamic_multimask,
        dynamic_multimask_stability_delta=sam.decoder.stability_delta,
        dynamic_multimask_stability_thresh=sam.decoder.stability_threshold,
    )
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(image_size=size),
        mask_decoder_config=decoder,
    )
