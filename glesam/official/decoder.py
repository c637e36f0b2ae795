"""SAM's mask decoder as the authors save it, `ft-decoder.pth`: 120 tensors, a state dict by torch.save."""

from __future__ import annotations

from pathlib import Path

import torch

from glesam.model import GleSam
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam.tensor_output import refused_writes
from glesam_runtime.output import replaced_file

PREFIXES = ("module.", "mask_decoder.")
"""DataParallel's and SAM's; either, both in this order, or none."""


def save_decoder(model: GleSam, path: str | Path) -> None:
    """Writes the mask decoder without a prefix, float32; `path` is replaced whole."""
    tensors = {
        name: tensor.detach().float().cpu().clone()  # a clone saves its own elements only
        for name, tensor in model.mask_decoder.state_dict().items()
    }
    with replaced_file(path) as partial, refused_writes(path):
        torch.save(tensors, partial)


def load_decoder(model: GleSam, path: str | Path) -> None:
    """Reads a mask decoder; every SAM has the same one, so it may come with another encoder.

    Raises:
        CheckpointError: unreadable, more than tensors, or not exactly the decoder's tensors.
    """
    found = read_tensors(path)
    for prefix in PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    check_fit(path, found, model.mask_decoder.state_dict())
    put(model.mask_decoder, found)
