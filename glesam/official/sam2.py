"""SAM 2's files: `sam2_hiera_*.pt` and `sam2.1_hiera_*.pt`, and transformers' folders of the same models."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from glesam.config import NoMemEmbed

Tensors = dict[str, Tensor]
Renamings = tuple[tuple[str, str], ...]
"""Regular expressions and their replacements; all are applied to a name, in this order."""

WEIGHTS = "model.safetensors"
"""Weights in transformers' folder."""
OFFICIAL_MARK, TRANSFORMERS_MARK = "image_encoder.trunk.", "vision_encoder.backbone."
"""Start of the names of Hiera's tensors."""
PATCH_EMBEDDING = "image_encoder.backbone.patch_embed.projection.weight"
POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
NO_MEM_EMBED: Mapping[NoMemEmbed, str] = {
    "before_gle": "image_encoder.no_mem_embed",
    "after_gle": "mask_decoder.no_mem_embed",
}
"""Name of the tensor by the part that adds it."""

OFFICIAL: Renamings = (
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "image_encoder.backbone.patch_embed.projection."),
    (r"^(image_encoder)\.trunk\.(blocks\.\d+)\.norm(\d)\.", r"\1.backbone.\2.layer_norm\3."),
    (r"^(image_encoder)\.trunk\.(blocks\.\d+\.mlp)\.layers\.0\.", r"\1.backbone.\2.proj_in."),
    (r"^(image_encoder)\.trunk\.(blocks\.\d+\.mlp)\.layers\.1\.", r"\1.backbone.\2.proj_out."),
    (r"^image_encoder\.trunk\.", "image_encoder.backbone."),
    (r"^(image_encoder\.neck\.convs\.\d)\.conv\.", r"\1."),
    (r"^sam_mask_decoder\.(conv_s[01])\.", r"image_encoder.\1."),
    (r"^sam_(mask_decoder\.transformer\.layers\.\d\.mlp)\.layers\.0\.", r"\1.lin1."),
    (r"^sam_(mask_decoder\.transformer\.layers\.\d\.mlp)\.layers\.1\.", r"\1.lin2."),
    (r"^sam_(mask_decoder|prompt_encoder)\.", r"\1."),
)
"""The official names to ours."""

_HEAD = r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head))"
TRANSFORMERS: Renamings = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"^mask_decoder\.(conv_s[01])\.", r"image_encoder.\1."),
    (r"^(mask_decoder\.transformer\..*)\bo_proj\.", r"\1out_proj."),
    (r"^(mask_decoder\.transformer\..*)\blayer_norm(\d)\.", r"\1norm\2."),
    (r"^(mask_decoder\.transformer)\.layer_norm_final_attn\.", r"\1.norm_final_attn."),
    (r"^(mask_decoder\.transformer\.layers\.\d\.mlp)\.proj_in\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d\.mlp)\.proj_out\.", r"\1.lin2."),
    (_HEAD + r"\.layers\.0\.", r"\1.layers.1."),
    (_HEAD + r"\.proj_in\.", r"\1.layers.0."),
    (_HEAD + r"\.proj_out\.", r"\1.layers.2."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
)
"""transformers' names to ours, but for those that `from_transformers` names itself."""


def from_official(tensors: Mapping[str, Tensor], no_mem_embed: NoMemEmbed) -> Tensors:
    """The image part's tensors under our names, from official ones."""
    return {
        NO_MEM_EMBED[no_mem_embed] if name == "no_mem_embed" else _renamed(name, OFFICIAL): tensor
        for name, tensor in tensors.items()
    }


def from_transformers(tensors: Mapping[str, Tensor], no_mem_embed: NoMemEmbed) -> Tensors:
    """The image part's tensors under our names, from transformers'.

    The matrix of positions stands there twice, and the four point embeddings are one tensor.
    """
    ours: Tensors = {}
    for name, tensor in tensors.items():
        if name == "prompt_encoder.point_embed.weight":
            points = tensor.split(1) if tensor.ndim else (tensor,)
            ours |= {f"prompt_encoder.point_embeddings.{i}.weight": point for i, point in enumerate(points)}
        elif name.endswith("shared_embedding.positional_embedding") or name == (
            "shared_image_embedding.positional_embedding"
        ):
            ours[POSITIONS] = tensor
        elif name == "no_memory_embedding":
            ours[NO_MEM_EMBED[no_mem_embed]] = tensor
        else:
            ours[_renamed(name, TRANSFORMERS)] = tensor
    return ours


def _renamed(name: str, renamings: Renamings) -> str:
    for pattern, replacement in renamings:
        name = re.sub(pattern, replacement, name)
    return name
