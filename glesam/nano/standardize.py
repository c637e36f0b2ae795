"""Embeddings of mean 0 and variance 1 in every channel, with exactly the same masks.

Most of the energy of a trained encoder's embedding is a constant of each channel. The last norm of the
encoder takes it out, and the 1 x 1 convolutions that read the embedding put it back: what lies between, GLE,
then sees channels of one size, as its noise levels and gamma presume.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glesam.model import GleSam


@torch.no_grad()
def standardize(model: GleSam, mean: Tensor, deviation: Tensor) -> None:
    """Changes encoder and decoder in place; mean and standard deviation [256] are the embedding's.

    The statistics may be on another device than the model.
    """
    encoder: Any = model.image_encoder
    decoder: Any = model.mask_decoder
    norm = encoder.last[-1]
    mean, deviation = mean.to(norm.weight), deviation.to(norm.weight)
    for conv in decoder.look.readers():
        conv.bias += conv.weight[:, :, 0, 0] @ mean
        conv.weight *= deviation.reshape(1, -1, 1, 1)
    norm.bias.copy_((norm.bias - mean) / deviation)
    norm.weight /= deviation


def channel_statistics(embeddings: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [256] of embeddings [B, 256, h, w], in float64 sums."""
    channels = torch.cat([one.double().transpose(0, 1).flatten(1) for one in embeddings], dim=1)
    return channels.mean(1).float(), channels.std(1).float()
