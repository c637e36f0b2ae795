"""SAM 2's files: `sam2_hiera_*.pt` and `sam2.1_hiera_*.pt`, and transformers' folders of the same models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from glesam.config import HIERA, NoMemEmbed, SamType
from glesam_runtime.errors import CheckpointError

Tensors = dict[str, Tensor]
Renamings = tuple[tuple[str, str], ...]
"""Regular expressions and their replacements; all are applied to a name, in this order."""

WEIGHTS = "model.safetensors"
"""Weights in transformers' folder."""
OFFICIAL_MARK, TRANSFORMERS_MARK = "image_encoder.trunk.", "vision_encoder.backbone."
"""Start of the names of Hiera's tensors."""
PATCH_EMBEDDINGS = (
    "image_encoder.backbone.patch_embed.projection.weight",
    "image_encoder.trunk.patch_embed.proj.weight",
    "vision_encoder.backbone.patch_embed.projection.weight",
)
VIDEO = (
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "memory_temporal_positional_encoding",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
"""Starts of the names of tensors that serve videos alone: the official ones, then transformers'."""
VIDEO_OF_2_1 = ("obj_ptr_tpos_proj.", "temporal_positional_encoding_projection_layer.")
"""Those that SAM 2.1 has and SAM 2 has not."""
POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
POSITION_COPIES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
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


def is_sam2(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are a whole SAM 2's tensors, or its image part's, under either kind of names."""
    return any(name.startswith((OFFICIAL_MARK, TRANSFORMERS_MARK)) for name in tensors)


def hiera_size(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width of Hiera's first stage, and number of its blocks; 0 where the file does not show them."""
    widths = [len(tensors[name]) for name in PATCH_EMBEDDINGS if name in tensors and tensors[name].ndim]
    blocks = {found[1] for name in tensors if (found := re.match(r"(?:\w+\.)+?blocks\.(\d+)\.", name))}
    return (widths or [0])[0], len(blocks)


def name_of(tensors: Mapping[str, Tensor]) -> str:
    """A SAM 2's size in an error message, whether or not it is a released one."""
    width, blocks = hiera_size(tensors)
    sizes = {(hiera.embed_dim, sum(hiera.stages)): f"2 (hiera {size})" for size, hiera in HIERA.items()}
    return sizes.get((width, blocks), f"2 of width {width} and {blocks} blocks")


def sam2_type(tensors: Mapping[str, Tensor], source: str | Path, expected: str | None = None) -> SamType:
    """The type of a SAM 2, from its shapes, and from its video part for the release.

    Args:
        expected: chooses the release where the image part stands alone, which is alike in both; 2.1 by
            default.

    Raises:
        CheckpointError: the image encoder has none of the four sizes.
    """
    found = hiera_size(tensors)
    sizes = {(hiera.embed_dim, sum(hiera.stages)): size for size, hiera in HIERA.items()}
    if found not in sizes:
        known = ", ".join(f"{width} and {blocks} ({size})" for (width, blocks), size in sizes.items())
        raise CheckpointError(
            f"{source} has a Hiera encoder of width {found[0]} and {found[1]} blocks; expected {known}"
        )
    video = [name for name in tensors if name.startswith(VIDEO)]
    release = "sam2.1" if not video or any(name.startswith(VIDEO_OF_2_1) for name in video) else "sam2"
    if not video and expected == f"sam2_hiera_{sizes[found]}":
        release = "sam2"
    return cast(SamType, f"{release}_hiera_{sizes[found]}")


def image_part(tensors: Mapping[str, Tensor], no_mem_embed: NoMemEmbed, source: str | Path) -> Tensors:
    """The tensors of a SAM 2 that segment images, under our names.

    Args:
        no_mem_embed: place of the tensor of this name in the model (`glesam.config.HieraEncoderConfig`).
        source: names the file in the message of an error.

    Raises:
        CheckpointError: transformers' two copies of the matrix of positions differ.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(VIDEO)}
    if any(name.startswith(TRANSFORMERS_MARK) for name in kept):
        return from_transformers(kept, no_mem_embed, source)
    return from_official(kept, no_mem_embed)


def from_official(tensors: Mapping[str, Tensor], no_mem_embed: NoMemEmbed) -> Tensors:
    """The image part's tensors under our names, from official ones."""
    return {
        NO_MEM_EMBED[no_mem_embed] if name == "no_mem_embed" else _renamed(name, OFFICIAL): tensor
        for name, tensor in tensors.items()
    }


def from_transformers(
    tensors: Mapping[str, Tensor], no_mem_embed: NoMemEmbed, source: str | Path = "the model"
) -> Tensors:
    """The image part's tensors under our names, from transformers'.

    The matrix of positions stands there once or twice, and the four point embeddings are one tensor.
    """
    ours: Tensors = {}
    for name, tensor in tensors.items():
        if name == "prompt_encoder.point_embed.weight":
            points = [tensor[i : i + 1] for i in range(len(tensor))] if tensor.ndim else [tensor]
            ours |= {f"prompt_encoder.point_embeddings.{i}.weight": point for i, point in enumerate(points)}
        elif name in POSITION_COPIES:
            if POSITIONS in ours and not torch.equal(ours[POSITIONS], tensor):
                raise CheckpointError(
                    f"{source}: {' and '.join(POSITION_COPIES)} differ; expected one matrix"
                )
            ours[POSITIONS] = tensor
        elif name == "no_memory_embedding":
            ours[NO_MEM_EMBED[no_mem_embed]] = tensor
        else:
            ours[_renamed(name, TRANSFORMERS)] = tensor
    return ours


def to_official_decoder(model_tensors: Mapping[str, Tensor]) -> Tensors:
    """The decoder's 131 tensors under their names in SAM 2's `sam_mask_decoder`, from a whole model's."""
    decoder: Tensors = {}
    for name, tensor in model_tensors.items():
        part, _, rest = name.partition(".")
        if name in NO_MEM_EMBED.values():
            continue
        if part == "mask_decoder" or (part == "image_encoder" and rest.startswith("conv_s")):
            rest = re.sub(r"^(transformer\.layers\.\d\.mlp)\.lin1\.", r"\1.layers.0.", rest)
            decoder[re.sub(r"^(transformer\.layers\.\d\.mlp)\.lin2\.", r"\1.layers.1.", rest)] = tensor
    return decoder


def _renamed(name: str, renamings: Renamings) -> str:
    for pattern, replacement in renamings:
        name = re.sub(pattern, replacement, name)
    return name
