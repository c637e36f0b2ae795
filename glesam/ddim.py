"""Five DDIM steps on a decoder's features: the authors' other, unreleased way to restore degraded pictures.

Their repository holds it as `mask_decoder_diff.py` (guangqian-guo/GleSAM at e1fdc49), after the feature
denoising of DiffKD (Huang et al., NeurIPS 2023); no released path runs it and there are no weights. It works
on the features of every prompt, where GLE works on the embedding, once per image. The features themselves are
the start: no noise is added, and eta is 0. Each step is linear in x and the predicted noise,

    x' = a x + b eps(x, t),    a = sqrt(abar' / abar),    b = sqrt(1 - abar') - a sqrt(1 - abar)

with abar' that of the next timestep, 1 after the last.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn

TIMESTEPS = (400, 300, 200, 100, 0)
"""The second half of ten steps through a schedule of 1,000."""
BETA_START, BETA_END, NUM_TRAIN_TIMESTEPS = 1e-4, 0.02, 1000
"""The linear schedule."""
TIME_EMBEDDINGS = 1280
"""Learned time vectors, of which `TIMESTEPS` uses five."""
REDUCTION = 4
"""Channels of the features per channel inside a bottleneck."""


def ddim_coefficients() -> tuple[tuple[float, float], ...]:
    """(a, b) of each step, computed in float64."""
    betas = np.linspace(BETA_START, BETA_END, NUM_TRAIN_TIMESTEPS)
    abars = np.cumprod(1 - betas)[list(TIMESTEPS)].tolist()
    pairs = zip(abars, [*abars[1:], 1.0], strict=True)
    return tuple(_coefficients(now, after) for now, after in pairs)


def _coefficients(now: float, after: float) -> tuple[float, float]:
    a = math.sqrt(after / now)
    return a, math.sqrt(1 - after) - a * math.sqrt(1 - now)


def gain() -> float:
    """What the five steps multiply features by where no noise is predicted: the product of all a, 2.27."""
    return math.prod(a for a, _ in ddim_coefficients())


class Bottleneck(nn.Module):
    """x + f(x), [N, C, h, w]: a 3 x 3 convolution on a quarter of the channels between two of 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // REDUCTION
        self.block = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out


class NoisePredictor(nn.Module):
    """eps(x, t): features [N, C, h, w] and a timestep -> noise of the same shape; a new one predicts none."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time_embedding = nn.Embedding(TIME_EMBEDDINGS, channels)
        self.layers = nn.Sequential(
            Bottleneck(channels),
            Bottleneck(channels),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor, timestep: int) -> Tensor:
        noise: Tensor = self.layers(x + self.time_embedding.weight[timestep].reshape(1, -1, 1, 1))
        return noise


class DdimDenoiser(nn.Module):
    """Features [N, C, h, w] -> denoised features of the same shape, N prompts at once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.noise = NoisePredictor(channels)
        self.coefficients = ddim_coefficients()

    def forward(self, x: Tensor) -> Tensor:
        for timestep, (a, b) in zip(TIMESTEPS, self.coefficients, strict=True):
            x = a * x + b * self.noise(x, timestep)
        return x
