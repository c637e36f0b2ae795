"""Distribution matching, an optional term of stage 1 (Yin et al., CVPR 2024; GleSAM's code default).

x = gamma z_hat is what GLE restored, the "sample" of a one-step generator. It is noised,

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) n,        t ~ U{20 .. 980},  n ~ N(0, 1),

and denoised twice: by the teacher (the frozen CRE U-Net, no adapters) and by the student (a second
adapter set, `glesam.training.adapters`, that follows what GLE restores):

    x0(eps) = (x_t - sqrt(1 - abar_t) eps(x_t; t)) / sqrt(abar_t)
    p_real = x - x0(eps_teacher)      p_fake = x - x0(eps_student)
    g = (p_real - p_fake) / mean |p_real|              (the mean over each picture's embedding)

The loss is 1/2 mean (x - sg(x - g))^2 with sg a stopped gradient, so that dloss/dx = g / (elements of x):
neither network is trained by it. The student has a denoising loss of its own.

A training loop uses it so, with `rows` the rows of the global batch that this process computes:

    add_student(model.gle)                                            # once, before the optimizers
    restored = model.gle.gamma * model.enhance(damaged)
    noising = draw_noising(restored.shape, seed, step, rows)
    loss = reconstruction + DISTRIBUTION_MATCHING_WEIGHT * distribution_matching_loss(gle, restored, noising)
    critic = student_loss(gle, restored.detach(), noising)            # its own optimizer, on
                                                                      # adapter_parameters(gle, STUDENT)
    remove_student(model.gle)                                         # before the model is saved

GLE's adapters take a step every `GENERATOR_EVERY` steps, the student one every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from glesam.gle import Gle, alphas_cumprod
from glesam.training.adapters import STUDENT, adapter
from glesam_runtime.errors import InputError

DISTRIBUTION_MATCHING_WEIGHT = 1.0
"""Weight of the term in the authors' code."""
GENERATOR_EVERY = 5
"""The authors' code: GLE is updated in every fifth step."""
FIRST_TIMESTEP, LAST_TIMESTEP = 20, 980
"""Both inclusive: 2 % and 98 % of the schedule."""
SMALLEST_DISTANCE = 1e-8
"""Keeps g finite where the teacher returns x exactly."""


@dataclass(frozen=True)
class Noising:
    """One draw for a batch: `timesteps` int64 [B], `noise` float32 [B, 256, h, w]."""

    timesteps: Tensor
    noise: Tensor

    def to(self, like: Tensor) -> Noising:
        """On the device of `like`, the noise in its dtype."""
        return Noising(self.timesteps.to(like.device), self.noise.to(like))


def draw_noising(shape: Sequence[int], seed: int, step: int, rows: range | None = None) -> Noising:
    """Row i is a function of (seed, step, i) alone: runs resume and processes agree.

    Args:
        shape: [B, 256, h, w] of the embeddings.
        rows: their rows in the global batch; None: 0 .. B-1.
    """
    rows = range(shape[0]) if rows is None else rows
    if len(rows) != shape[0]:
        raise InputError(f"{len(rows)} rows for a batch of {shape[0]}; pass the rows of this process's part")
    timesteps, noise = [], []
    for row in rows:
        state = np.random.SeedSequence((seed, step, row)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        timesteps.append(torch.randint(FIRST_TIMESTEP, LAST_TIMESTEP + 1, (), generator=generator))
        noise.append(torch.randn(*shape[1:], generator=generator))
    return Noising(torch.stack(timesteps), torch.stack(noise))


def distribution_matching_loss(gle: Gle, restored: Tensor, noising: Noising) -> Tensor:
    """The surrogate loss, a scalar; its gradient reaches `restored` and nothing else.

    Args:
        gle: with a student (`add_student`).
        restored: gamma z_hat, [B, 256, h, w], with the graph of GLE behind it.
    """
    sample = restored.detach()
    with torch.no_grad():
        real = predicted_original(gle, None, sample, noising)
        fake = predicted_original(gle, STUDENT, sample, noising)
    return surrogate_loss(restored, matching_gradient(sample, real, fake))


def student_loss(gle: Gle, restored: Tensor, noising: Noising) -> Tensor:
    """mean (eps_student(x_t; t) - n)^2, a scalar; pass `restored` detached.

    The authors' range of t for the student is not known; it trains on the draw that it is evaluated on.
    """
    drawn = noising.to(restored)
    predicted = predicted_noise(gle, STUDENT, add_noise(gle, restored, drawn), drawn.timesteps)
    return mse_loss(predicted.to(restored.dtype), drawn.noise)


def matching_gradient(sample: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """g for a sample and its two denoised versions, all [B, 256, h, w]."""
    p_real, p_fake = sample - real, sample - fake
    distance = p_real.abs().mean(dim=(1, 2, 3), keepdim=True)
    return (p_real - p_fake) / distance.clamp_min(SMALLEST_DISTANCE)


def surrogate_loss(restored: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to `restored` is `gradient` / (elements of `restored`)."""
    return 0.5 * mse_loss(restored, (restored - gradient).detach())


def add_noise(gle: Gle, sample: Tensor, noising: Noising) -> Tensor:
    """x_t of each picture."""
    drawn = noising.to(sample)
    signal, sigma = _signal_and_noise(gle, drawn.timesteps, sample)
    return signal * sample + sigma * drawn.noise


def predicted_original(gle: Gle, name: str | None, sample: Tensor, noising: Noising) -> Tensor:
    """x0 of the noised sample as the adapter set `name` (None: the teacher) sees it."""
    drawn = noising.to(sample)
    noisy = add_noise(gle, sample, drawn)
    predicted = predicted_noise(gle, name, noisy, drawn.timesteps).to(sample.dtype)
    signal, sigma = _signal_and_noise(gle, drawn.timesteps, sample)
    return (noisy - sigma * predicted) / signal


def predicted_noise(gle: Gle, name: str | None, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """eps(x_t; t, context) with the adapter set `name`, [B, 256, h, w]."""
    context = gle.get_buffer("text_embedding").expand(len(noisy), -1, -1)
    with adapter(gle.unet, name):
        predicted: Tensor = gle.unet(noisy, timesteps, context).sample
    return predicted


def _signal_and_noise(gle: Gle, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t), each [B, 1, 1, 1]."""
    abar = alphas_cumprod(gle.config).to(like)[timesteps].reshape(-1, 1, 1, 1)
    return abar.sqrt(), (1 - abar).sqrt()
