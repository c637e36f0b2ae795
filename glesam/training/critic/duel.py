"""Stage 1 with its optional terms: GLE as a generator, the student and its head as its critic.

Both see the same batches; GLE takes a step in every `every`-th, the critic in each
(`distribution_matching`, `adversarial`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE
from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.adapters import DEFAULT, STUDENT, adapter_parameters, add_student
from glesam.training.critic.adversarial import (
    DISCRIMINATOR_WEIGHT,
    DiscriminatorHead,
    discriminator_loss,
    generator_loss,
    realism,
)
from glesam.training.critic.distribution_matching import (
    Noising,
    distribution_matching_loss,
    draw_noising,
    student_loss,
)
from glesam.training.loop import Losses, Player
from glesam.training.stage_losses import embeddings_of, restoration_losses
from glesam_runtime.errors import InputError


@dataclass(frozen=True)
class NoisedBatch:
    """Pictures, and the noise that both players add to their embeddings."""

    pictures: Batch
    noising: Noising


def with_noise(batches: Iterator[Batch], seed: int, steps: range, rows: range) -> Iterator[NoisedBatch]:
    """Each step's batch with the draw of (seed, step, row)."""
    for step, batch in zip(steps, batches, strict=True):
        size, side = len(batch.image), batch.image.shape[-1] // EMBEDDING_STRIDE
        yield NoisedBatch(batch, draw_noising((size, EMBEDDING_CHANNELS, side, side), seed, step, rows))


class Duel(nn.Module):
    """The trained parts: GLE's adapters and the student's, and the discriminator's head.

    Args:
        model: gets a student (`add_student`), to be removed before it is saved.
        distribution_matching, gan: weights of the terms.
    """

    def __init__(self, model: GleSam, distribution_matching: float, gan: float) -> None:
        super().__init__()
        if gan and model.config.gle.unet.mid_block_type is None:
            raise InputError("gan: its discriminator reads the U-Net's mid block, and this one has none")
        add_student(model.gle)
        self.gle = model.gle
        self.head = DiscriminatorHead.of(model.gle).to(model.gle.get_buffer("text_embedding").device)
        self.weights = distribution_matching, gan

    def players(self, model: GleSam, every: int) -> list[Player[NoisedBatch]]:
        """GLE, which takes a step in every `every`-th, and the critic, which takes one in each."""
        critics = [*adapter_parameters(self.gle, STUDENT), *self.head.parameters()]
        own = adapter_parameters(self.gle, DEFAULT)
        return [
            Player(own, partial(self.generator_losses, model), every),
            Player(critics, partial(self.critic_losses, model), prefix="critic_"),
        ]

    def generator_losses(self, model: GleSam, batch: NoisedBatch) -> Losses:
        """GLE's losses: reconstruction and the optional terms."""
        damaged, clean = embeddings_of(model, batch.pictures)
        restored = model.enhance(damaged)
        losses = restoration_losses(restored, damaged, clean, self.gle.gamma)
        losses["reconstruction"] = losses["loss"].detach()
        scaled = self.gle.gamma * restored
        matching, gan = self.weights
        if matching:
            term = distribution_matching_loss(self.gle, scaled, batch.noising)
            losses |= {"loss": losses["loss"] + matching * term, "matching": term.detach()}
        if gan:
            term = generator_loss(realism(self.gle, self.head, scaled, batch.noising))
            losses |= {"loss": losses["loss"] + gan * term, "gan": term.detach()}
        return losses

    def critic_losses(self, model: GleSam, batch: NoisedBatch) -> Losses:
        """The student's denoising loss, and with a GAN the discriminator's."""
        damaged, clean = embeddings_of(model, batch.pictures)
        with torch.no_grad():
            restored = self.gle.gamma * model.enhance(damaged)
        loss = student_loss(self.gle, restored, batch.noising)
        losses = {"loss": loss, "student": loss.detach()}
        if self.weights[1]:
            real = realism(self.gle, self.head, self.gle.gamma * clean, batch.noising)
            fake = realism(self.gle, self.head, restored, batch.noising)
            term = discriminator_loss(real, fake)
            losses |= {"loss": loss + DISCRIMINATOR_WEIGHT * term, "discriminator": term.detach()}
        return losses
