"""A sheet of a model's masks on a few training pictures: input, degraded, truth, prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.mask_loss import no_masks
from glesam.training.parallel import to_device

SIDE = 256
"""Largest side of a picture in the sheet, px."""
TINT = (30, 220, 90)
"""RGB of a mask."""


@torch.no_grad()
def mask_pictures(model: GleSam, batch: Batch, *, enhance: bool = True) -> NDArray[np.uint8]:
    """A row per picture, with its first prompt: uint8 [B*s, 4*s, 3], RGB, s at most 256 px.

    Neither the model nor torch's random state is changed.
    """
    batch = to_device(batch, next(model.parameters()).device)
    per_image = len(batch.masks) // len(batch.image)
    first = slice(None, None, per_image)
    with evaluating(model):
        features = model.encode_features(model.normalize(batch.degraded))
        features = model.enhance(features) if enhance else features
        prompt = batch.point_coords[first], batch.point_labels[first]
        low_res, _ = model.decode(features, *prompt, *no_masks(features.image_embeddings, len(batch.image)))
    size = batch.image.shape[-2:]
    predicted = interpolate(low_res[:, :1], size, mode="bilinear", align_corners=False)[:, 0] > 0
    truth = batch.masks[first] > 0.5
    columns = [batch.image, batch.degraded, tinted(batch.degraded, truth), tinted(batch.degraded, predicted)]
    side = min(SIDE, size[0])
    small = [interpolate(column, (side, side), mode="area") for column in columns]
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in zip(*small, strict=True)], dim=-2)
    return sheet.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def tinted(images: Tensor, masks: Tensor) -> Tensor:
    """Images float [B, 3, S, S] in [0, 255] with masks bool [B, S, S] drawn over them."""
    colour = images.new_tensor(TINT).reshape(3, 1, 1)
    return torch.where(masks.unsqueeze(1), 0.5 * images + 0.5 * colour, images)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Keeps a module in eval mode within the block, and restores the mode of every part afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
