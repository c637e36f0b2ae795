"""Stage "decoder" (stage 2 of the paper): the mask decoder meets enhanced embeddings."""

from __future__ import annotations

import torch

from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.gle_stage import embeddings_of
from glesam.training.loop import Losses
from glesam.training.sam_stage import segmentation_losses


def decoder_losses(model: GleSam, batch: Batch) -> Losses:
    """Encoder and GLE are frozen; clean pictures pass through GLE too, as they do in use."""
    damaged, _ = embeddings_of(model, batch)
    with torch.no_grad():
        enhanced = model.enhance(damaged)
    return segmentation_losses(model, enhanced, batch)
