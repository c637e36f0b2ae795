"""SAM's mask decoder as the authors save it, `ft-decoder.pth`: 120 tensors, a state dict by torch.save.

That of a SAM 2 has 131, with the two projections of its high-resolution features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from glesam.config import HieraEncoderConfig
from glesam.model import GleSam
from glesam.official import sam2
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam.tensor_output import refused_writes
from glesam_runtime.errors import CheckpointError
from glesam_runtime.output import replaced_file

PREFIXES = ("module.", "mask_decoder.", "sam_mask_decoder.")
"""Prefixes by DataParallel, SAM and SAM 2; a file has the first, one of the others, both or none."""
OF_SAM2 = "obj_score_token.weight"


def save_decoder(model: GleSam, path: str | Path) -> None:
    """Writes the mask decoder without a prefix, float32; `path` is replaced whole."""
    tensors = {
        name: tensor.detach().float().cpu().clone()  # a clone saves its own elements only
        for name, tensor in _decoder_tensors(model).items()
    }
    with replaced_file(path) as partial, refused_writes(path):
        torch.save(tensors, partial)


def load_decoder(model: GleSam, path: str | Path) -> None:
    """Reads a mask decoder; it is the same for every SAM, so it may have been tuned with another encoder.

    Raises:
        CheckpointError: the file is unreadable, or does not hold exactly the decoder's tensors.
    """
    loaded = read_tensors(path)
    for prefix in PREFIXES:
        if loaded and all(name.startswith(prefix) for name in loaded):
            loaded = {name.removeprefix(prefix): tensor for name, tensor in loaded.items()}
    if OF_SAM2 in loaded and not _is_sam2(model):
        raise CheckpointError(
            f"{path} is SAM 2's mask decoder, expected that of a {model.config.sam.sam_type}"
        )
    if loaded and OF_SAM2 not in loaded and _is_sam2(model):
        raise CheckpointError(
            f"{path} has no {OF_SAM2} among its {len(loaded)} tensors; expected SAM 2's mask decoder, "
            f"that of a {model.config.sam.sam_type}"
        )
    check_fit(path, loaded, _decoder_tensors(model))
    if not _is_sam2(model):
        put(model.mask_decoder, loaded)
        return
    ours = sam2.from_official({f"sam_mask_decoder.{name}": t for name, t in loaded.items()}, "before_gle")
    for part in (model.mask_decoder, model.image_encoder):
        prefix = "mask_decoder." if part is model.mask_decoder else "image_encoder."
        found = {n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)}
        put(part, part.state_dict() | found)


def _is_sam2(model: GleSam) -> bool:
    return isinstance(model.config.sam.encoder, HieraEncoderConfig)


def _decoder_tensors(model: GleSam) -> dict[str, Tensor]:
    """The decoder's tensors under the names of its file."""
    if _is_sam2(model):
        return sam2.to_official_decoder(model.state_dict())
    return dict(model.mask_decoder.state_dict())
