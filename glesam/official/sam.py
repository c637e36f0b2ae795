"""Whole SAM models: segment-anything's `sam_vit_{b,l,h}_*.pth`, and the authors' `GleSAM-l.pth`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from glesam.config import SamType
from glesam.model import GleSam
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam_runtime.errors import CheckpointError

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
PATCH_EMBEDDING = "image_encoder.patch_embed.proj.weight"
ROBUST_TOKEN = "mask_decoder.custom_robust_token.weight"
"""A tensor that every RobustSAM has and no SAM."""
SAM_TYPES: dict[int, SamType] = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""SAM's type by the width of its image encoder."""


def load_sam(model: GleSam, path: str | Path) -> None:
    """Reads image encoder, prompt encoder and mask decoder.

    Raises:
        CheckpointError: the file is unreadable, another SAM's, or does not hold exactly the model's tensors.
    """
    loaded = read_plain_sam(path)
    width = int(loaded[PATCH_EMBEDDING].shape[0])
    own = {f"{part}.{name}": t for part in PARTS for name, t in getattr(model, part).state_dict().items()}
    expected = int(own[PATCH_EMBEDDING].shape[0]) if PATCH_EMBEDDING in own else 0
    if width != expected:
        raise CheckpointError(
            f"{path} is a SAM {SAM_TYPES.get(width, f'of width {width}')}, "
            f"the model a {model.config.sam.sam_type}; choose the sam_type of the file"
        )
    check_fit(path, loaded, own)
    for part in PARTS:
        prefix = f"{part}."
        put(
            getattr(model, part),
            {n.removeprefix(prefix): t for n, t in loaded.items() if n.startswith(prefix)},
        )


def sam_type_of(path: str | Path) -> SamType:
    """The type of the SAM in a file, read from the shape of its patch embedding.

    Raises:
        CheckpointError: the file is unreadable, or none of the three.
    """
    width = int(read_plain_sam(path)[PATCH_EMBEDDING].shape[0])
    if width not in SAM_TYPES:
        raise CheckpointError(
            f"{path} has an image encoder of width {width}; "
            "expected 768 (vit_b), 1024 (vit_l) or 1280 (vit_h)"
        )
    return SAM_TYPES[width]


def read_plain_sam(path: str | Path) -> dict[str, Tensor]:
    """Reads a SAM file as `read_sam` does. Raises CheckpointError for a RobustSAM."""
    loaded = read_sam(path)
    if ROBUST_TOKEN in loaded:
        raise CheckpointError(
            f"{path} is a RobustSAM, expected a SAM such as sam_vit_b_01ec64.pth; "
            "RobustSAM runs as it is, without GLE"
        )
    return loaded


def read_sam(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a SAM file and removes DataParallel's prefix."""
    loaded = {name.removeprefix("module."): tensor for name, tensor in read_tensors(path).items()}
    if PATCH_EMBEDDING not in loaded:
        raise CheckpointError(
            f"{path} has no {PATCH_EMBEDDING} among its {len(loaded)} tensors; "
            "expected a whole SAM with a ViT encoder, such as sam_vit_b_01ec64.pth"
        )
    return loaded
