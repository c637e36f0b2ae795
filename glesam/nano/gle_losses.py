"""What GLE learns: how clean embeddings look, restoring degraded ones, and restoring them for the decoder."""

from __future__ import annotations

from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from glesam.config import EMBEDDING_STRIDE
from glesam.gle import Gle, alphas_cumprod
from glesam.model import GleSam
from glesam.nano.batches import PromptBatch
from glesam.nano.losses import Targets, prompt_losses
from glesam.nano.pairs import AuxiliaryPairs, PairBatch, Pairs
from glesam.training.loop import Losses

NOISE_LEVELS = 600
"""Stage "prior" draws its timestep below it: beyond, almost nothing of an embedding is left."""
ERROR_WEIGHT = 0.5
"""Weight of the squared error beside the mask losses."""


def prior_losses(gle: Gle, pairs: Pairs, side: int) -> Losses:
    """Squared error of the noise predicted in windows of clean embeddings, at random timesteps."""
    z = gle.gamma * same_window(pairs, side).clean
    noise, t = torch.randn_like(z), torch.randint(NOISE_LEVELS, (len(z),), device=z.device)
    abar = alphas_cumprod(gle.config).to(z.device)[t].reshape(-1, 1, 1, 1)
    context = gle.get_buffer("text_embedding").expand(len(z), -1, -1)
    found = gle.unet(abar.sqrt() * z + (1 - abar).sqrt() * noise, t, context).sample
    return {"loss": mse_loss(found.float(), noise)}


def restoring_losses(gle: Gle, pairs: Pairs, side: int, clean_share: float) -> Losses:
    """Squared error between restored and clean windows; `clean_share` of the inputs are clean already.

    An adaptive GLE takes the degradation level from the whole embedding, as it does for a picture. Auxiliary
    images are cut to the window.
    """
    window = random_window(pairs, side)
    whole, clean = mixed(pairs, clean_share), pairs.clean[window]
    given = whole[window]
    restored = gle(given, gle.degradation_level(whole), auxiliary_window(pairs, window))
    return {"loss": mse_loss(restored.float(), clean), "before": mse_loss(given, clean)}


def joint_losses(model: GleSam, batch: PairBatch, clean_share: float, *, enhance: bool = True) -> Losses:
    """GLE and decoder learn from masks and squared error.

    `enhance=False` leaves GLE out: the baseline, on the same batches with the same chance.
    """
    given = mixed(batch, clean_share)
    if not enhance:
        return prompt_losses(model, given, batch)
    return restored_losses(model, model.enhance(given), batch.clean, batch)


def tuning_losses(model: GleSam, teacher: nn.Module, batch: PromptBatch, *, enhance: bool = True) -> Losses:
    """Encoder, GLE and decoder learn from masks and the squared error to the teacher's clean embeddings."""
    with torch.no_grad():
        clean = teacher(model.normalize(batch.clean)).float()
    given = model.encode(model.normalize(batch.image))
    return restored_losses(model, model.enhance(given) if enhance else given, clean, batch)


def restored_losses(model: GleSam, restored: Tensor, clean: Tensor, batch: Targets) -> Losses:
    """Mask losses of restored embeddings, and their squared error to the clean ones."""
    losses = prompt_losses(model, restored, batch)
    error = mse_loss(restored.float(), clean)
    return {**losses, "loss": losses["loss"] + ERROR_WEIGHT * error, "error": error}


def mixed(pairs: Pairs, clean_share: float) -> Tensor:
    """Degraded embeddings, but for a random share of clean ones, [B, 256, h, w]."""
    clean = pairs.clean
    is_clean = (torch.rand(len(clean), 1, 1, 1, device=clean.device) < clean_share).to(clean)
    return is_clean * clean + (1 - is_clean) * pairs.degraded


def same_window(pairs: Pairs, side: int) -> Pairs:
    """The same random window of all, [B, 256, side, side] each."""
    window = random_window(pairs, side)
    return Pairs(pairs.clean[window], pairs.degraded[window])


def auxiliary_window(pairs: Pairs, window: Window) -> Tensor | None:
    """The auxiliary images' pixels under a window of positions; None where the pairs have none.

    For pairs that a caller of the library makes (`AuxiliaryPairs`); those of stored views have none.
    """
    if not isinstance(pairs, AuxiliaryPairs):
        return None
    rows, columns = (
        slice(EMBEDDING_STRIDE * axis.start, EMBEDDING_STRIDE * axis.stop) for axis in window[1:]
    )
    return pairs.auxiliary[..., rows, columns]


Window = tuple[EllipsisType, slice, slice]


def random_window(pairs: Pairs, side: int) -> Window:
    """The index of a random window of `side` x `side` positions."""
    top, left = (int(torch.randint(pairs.clean.shape[axis] - side + 1, ())) for axis in (-2, -1))
    return (..., slice(top, top + side), slice(left, left + side))
