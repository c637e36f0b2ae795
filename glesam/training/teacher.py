"""The teacher of stage 1: another model's GLE, whose enhanced embeddings the trained one learns.

Beside the distance to the clean image's embedding z_H, with the teacher's z_T of the same degraded image:

    MSE(gamma z_hat, gamma z_H) + teacher_weight MSE(gamma z_hat, gamma z_T)

A U-Net that is another than the teacher's, such as a smaller one of it, learns as a whole: a LoRA of low rank
cannot do the work of the layers that were left out. Only the two convolutions that CRE widened learn by their
LoRA (`glesam.gle.is_full_rank`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from glesam.config import SamConfig
from glesam.data.batches import Batch
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.training.loop import Losses
from glesam.training.stage_config import GleStageConfig, StageConfig
from glesam.training.stage_losses import embeddings_of, restoration_losses
from glesam_runtime.errors import InputError


def open_teacher(folder: str | None, model: GleSam, config: StageConfig) -> Gle | None:
    """Opens the teacher of `model`, frozen and in eval mode; None where `folder` is None.

    Args:
        folder: of a checkpoint, or a hub id.

    Raises:
        CheckpointError: it cannot be read.
        InputError: it works on other embeddings than the model's, or the settings allow no teacher.
    """
    if folder is None:
        return None
    if not isinstance(config, GleStageConfig):
        raise InputError("--teacher is for --stage 1; leave it out")
    if config.distribution_matching or config.gan:
        raise InputError(
            "distribution_matching and gan have a teacher of their own, the U-Net without its LoRA; "
            "leave them out, or --teacher"
        )
    teacher = GleSam.from_pretrained(folder)
    check_embeddings(teacher, model, folder)
    return teacher.gle.requires_grad_(False)


def check_embeddings(teacher: GleSam, model: GleSam, folder: str) -> None:
    """Raises InputError where the teacher's GLE was trained on another image encoder's embeddings."""
    theirs, ours = encoder_settings(teacher.config.sam), encoder_settings(model.config.sam)
    if theirs != ours:
        raise InputError(
            f"teacher {folder} is of a {teacher.config.sam.sam_type} at {teacher.config.sam.image_size} px, "
            f"the model a {model.config.sam.sam_type} at {model.config.sam.image_size} px; "
            "expected a teacher with the model's image encoder"
        )
    own = model.image_encoder.state_dict()
    if not all(torch.equal(t, own[name]) for name, t in teacher.image_encoder.state_dict().items()):
        raise InputError(
            f"teacher {folder}: the weights of its image encoder are not the model's, so that its GLE "
            "enhances other embeddings; expected the checkpoint that the model was made from"
        )


def encoder_settings(sam: SamConfig) -> tuple[object, ...]:
    """What an image's embedding depends on beside the encoder's weights."""
    return sam.encoder, sam.image_size, sam.pixel_mean, sam.pixel_std


def learns_whole(model: GleSam, teacher: Gle | None) -> bool:
    """Whether stage 1 trains all of the model's U-Net: the teacher's is another."""
    return teacher is not None and teacher.config.unet != model.config.gle.unet


def distilled_losses(model: GleSam, batch: Batch, teacher: Gle, weight: float) -> Losses:
    """The losses of stage 1 with a teacher; "teacher" is the squared error to its embeddings."""
    damaged, clean = embeddings_of(model, batch)
    restored = model.enhance(damaged)
    losses = restoration_losses(restored, damaged, clean, model.gle.gamma)
    error = teacher_error(restored, damaged, teacher, model.gle.gamma)
    return losses | {"loss": losses["loss"] + weight * error, "teacher": error.detach()}


def teacher_error(restored: Tensor, damaged: Tensor, teacher: Gle, gamma: float) -> Tensor:
    """Squared error between gamma-scaled embeddings [B, 256, h, w]: restored ones and the teacher's."""
    with torch.no_grad():
        taught = teacher(damaged)
    return mse_loss(gamma * restored, gamma * taught)
