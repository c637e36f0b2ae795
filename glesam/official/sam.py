"""Whole SAM models: segment-anything's `sam_vit_{b,l,h}_*.pth`, the authors' `GleSAM-l.pth`, and SAM 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from glesam.config import HieraEncoderConfig, SamType
from glesam.model import GleSam
from glesam.official import sam2
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
    own = {f"{part}.{name}": t for part in PARTS for name, t in getattr(model, part).state_dict().items()}
    if _kind(loaded) != _kind(own):
        raise CheckpointError(
            f"{path} is a SAM {_name(loaded)}, "
            f"the model a {model.config.sam.sam_type}; choose the sam_type of the file"
        )
    encoder = model.config.sam.encoder
    name_in_file: Callable[[str], str] = str
    if isinstance(encoder, HieraEncoderConfig):
        name_in_file = partial(sam2.name_in_file, tensors=loaded)
        loaded = sam2.image_part(loaded, encoder.no_mem_embed, path)
    check_fit(path, loaded, own, name_in_file)
    for part in PARTS:
        prefix = f"{part}."
        put(
            getattr(model, part),
            {n.removeprefix(prefix): t for n, t in loaded.items() if n.startswith(prefix)},
        )


def sam_file(path: str | Path) -> Path:
    """The file of weights: `path` itself, or the one in a folder of transformers'."""
    path = Path(path)
    return path / sam2.WEIGHTS if path.is_dir() else path


def sam_type_of(path: str | Path, expected: str | None = None) -> SamType:
    """The type of the SAM in a file, read from the shapes of its image encoder.

    Args:
        expected: see `glesam.official.sam2.sam2_type`.

    Raises:
        CheckpointError: the file is unreadable, or of another size than the released ones.
    """
    loaded = read_plain_sam(path)
    if sam2.is_sam2(loaded):
        return sam2.sam2_type(loaded, path, expected)
    width = int(loaded[PATCH_EMBEDDING].shape[0])
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
            "glesam-convert takes a RobustSAM with --robust-sam, alone"
        )
    return loaded


def read_sam(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a SAM's or SAM 2's file and removes DataParallel's prefix."""
    loaded = {
        name.removeprefix("module."): tensor
        for name, tensor in read_tensors(sam_file(path), inside="model").items()
    }
    if PATCH_EMBEDDING not in loaded and not sam2.is_sam2(loaded):
        raise CheckpointError(
            f"{path} has no {PATCH_EMBEDDING} among its {len(loaded)} tensors; "
            "expected a whole SAM with a ViT encoder, such as sam_vit_b_01ec64.pth, or a SAM 2"
        )
    return loaded


def _kind(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Width of a SAM's image encoder; of a SAM 2's, width and number of blocks."""
    if PATCH_EMBEDDING in tensors:
        return (int(tensors[PATCH_EMBEDDING].shape[0]),)
    return sam2.hiera_size(tensors)


def _name(tensors: Mapping[str, Tensor]) -> str:
    if sam2.is_sam2(tensors):
        return sam2.name_of(tensors)
    width = int(tensors[PATCH_EMBEDDING].shape[0])
    return SAM_TYPES.get(width, f"of width {width}")
