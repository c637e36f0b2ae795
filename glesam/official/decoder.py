"""SAM's mask decoder as the authors save it, `ft-decoder.pth`: 120 tensors, a state dict by torch.save."""

from __future__ import annotations

from pathlib import Path

import torch

from glesam.model import GleSam
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam.tensor_output import refused_writes
from glesam_runtime.output import replaced_file

PREFIXES = ("module.", "mask_decoder.")
"""Prefixes by DataParallel and by SAM; a file has either, both in this order, or none."""


def save_decoder(model: GleSam, path: str | Path) -> None:
    """Writes the mask decoder without a prefix, float32; `path` is replaced whole."""
    tensors = {
        name: tensor.detach().float().cpu().clone()  # a clone saves its own elements only
        for name, tensor in model.mask_decoder.state_dict().items()
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
    check_fit(path, loaded, model.mask_decoder.state_dict())
    put(model.mask_decoder, loaded)
