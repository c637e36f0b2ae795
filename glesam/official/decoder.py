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
NOT_TUNED = ("iou_token.", "iou_prediction_head.", "pred_obj_score_head.", "conv_s0.", "conv_s1.")
"""Starts of the names of what the authors' second stage leaves as it is. A file may lack any of these groups,
each as a whole; it then comes from the base model, as in the authors' own merging."""


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

    What training leaves as it is (`NOT_TUNED`) may be missing: the model keeps its own.

    Raises:
        CheckpointError: the file is unreadable, or lacks another of the decoder's tensors, or holds more.
    """
    loaded, prefix = _without_prefix(read_tensors(path))
    if OF_SAM2 in loaded and not _is_sam2(model):
        raise CheckpointError(
            f"{path} is SAM 2's mask decoder, expected that of a {model.config.sam.sam_type}"
        )
    if loaded and OF_SAM2 not in loaded and _is_sam2(model):
        raise CheckpointError(
            f"{path} has no {OF_SAM2} among its {len(loaded)} tensors; expected SAM 2's mask decoder, "
            f"that of a {model.config.sam.sam_type}"
        )
    own = _decoder_tensors(model)
    loaded = _not_tuned(own, loaded) | loaded
    check_fit(path, loaded, own, lambda name: prefix + name)
    if not _is_sam2(model):
        put(model.mask_decoder, loaded)
        return
    ours = sam2.from_official({f"sam_mask_decoder.{name}": t for name, t in loaded.items()}, "before_gle")
    for part in (model.mask_decoder, model.image_encoder):
        prefix = "mask_decoder." if part is model.mask_decoder else "image_encoder."
        found = {n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)}
        put(part, part.state_dict() | found)


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without what all of their names start with, and that prefix."""
    removed = ""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            removed += prefix
    return tensors, removed


def _not_tuned(own: dict[str, Tensor], loaded: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's tensors of those groups in `NOT_TUNED` of which a file of a decoder holds nothing."""
    if not own.keys() & loaded.keys():
        return {}
    missing = tuple(start for start in NOT_TUNED if not any(name.startswith(start) for name in loaded))
    return {name: tensor for name, tensor in own.items() if name.startswith(missing)}


def _is_sam2(model: GleSam) -> bool:
    return isinstance(model.config.sam.encoder, HieraEncoderConfig)


def _decoder_tensors(model: GleSam) -> dict[str, Tensor]:
    """The decoder's tensors under the names of its file."""
    if _is_sam2(model):
        return sam2.to_official_decoder(model.state_dict())
    return dict(model.mask_decoder.state_dict())
