"""The loop around DiffBIR's parts: sizes, spaced sampling with guidance, and the colours of stage 1.

It holds no network: its parts run in PyTorch or, exported, in any engine. Noise comes from a fixed seed, so
that a picture is restored to the same pixels each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glesam.restorers.restorer import Floats, Picture, resized, to_floats, to_picture

POSITIVE_PROMPT = ""
NEGATIVE_PROMPT = "low quality, blurry, low-resolution, noisy, unsharp, weird textures"
"""The prompts with which the authors run v2."""
STEPS = 50
GUIDANCE = 4.0
"""Classifier-free guidance: how far a step follows the difference between the two prompts' noise."""
LEAST_SIDE = 512
"""Shortest side that the diffusion works on; smaller pictures are enlarged for it."""
MULTIPLE = 64
"""Sides of the diffusion's image are padded with black to multiples of this."""
TRAIN_STEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012
"""Stable Diffusion's schedule: the square roots of beta are linear."""
WAVELET_LEVELS = 5


class Parts(Protocol):
    """The four networks as functions of float32 arrays; images are RGB [1, 3, H, W] in [0, 1]."""

    def stage1(self, image: Floats) -> Floats:
        """Restores an image and enlarges it 4 times."""

    def encode(self, image: Floats) -> Floats:
        """Image -> condition [1, 4, H/8, W/8]."""

    def denoise(self, latents: Floats, condition: Floats, timestep: int) -> Floats:
        """[1, 4, h, w] each -> the noise [2, 4, h, w] for the negative prompt, then for the positive."""

    def decode(self, latents: Floats) -> Floats:
        """Latents -> image."""


@dataclass(frozen=True)
class DiffBirRestorer:
    """DiffBIR v2 as a `Restorer`: stage 1, diffusion, the picture's own size again."""

    parts: Parts
    source: str
    steps: int = STEPS
    least_side: int = LEAST_SIDE
    seed: int = 0

    @property
    def origin(self) -> str:
        return f"{self.source}, {self.steps} steps, guidance {GUIDANCE:g}, seed {self.seed}"

    def __call__(self, image: Picture) -> Picture:
        return to_picture(self.restore(to_floats(image.transpose(2, 0, 1)[None]))[0])

    def restore(self, image: Floats) -> Floats:
        """Restores an image [1, 3, H, W]; the result may overshoot [0, 1]."""
        height, width = image.shape[2:]
        cleaned = resized(self.parts.stage1(image)[0], diffusion_size(height, width, self.least_side))
        generated = self.generate(cleaned[None])[0]
        return resized(with_colours_of(cleaned, generated), (height, width))[None]

    def generate(self, cleaned: Floats) -> Floats:
        """Generates an image [1, 3, H, W] from stage 1's."""
        height, width = cleaned.shape[2:]
        padding = [(0, 0), (0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE)]
        condition = self.parts.encode(np.pad(cleaned, padding))
        rng = np.random.default_rng(self.seed)
        latents = rng.standard_normal(condition.shape).astype(np.float32)
        for step in spaced_steps(self.steps):
            pair = self.parts.denoise(latents, condition, step.timestep)
            noise = rng.standard_normal(condition.shape).astype(np.float32)
            latents = step.previous(latents, guided(pair), noise)
        return self.parts.decode(latents)[..., :height, :width]


def diffusion_size(height: int, width: int, least_side: int) -> tuple[int, int]:
    """Height and width that the diffusion works on: the picture's, or its shorter side enlarged."""
    if (shorter := min(height, width)) >= least_side:
        return height, width

    def enlarged(side: int) -> int:
        return least_side if side == shorter else int(side * (least_side / shorter))

    return enlarged(height), enlarged(width)


def guided(pair: Floats) -> Floats:
    """Classifier-free guidance: the noise for negative and positive prompt, [2, ...] -> [1, ...]."""
    negative, positive = pair[:1], pair[1:]
    noise: Floats = negative + np.float32(GUIDANCE) * (positive - negative)
    return noise


@dataclass(frozen=True)
class Step:
    """One step of DDPM's sampling (Ho et al., 2020, equations 7, 11 and 15) along a spaced schedule.

    x_0 = signal x - noise_share eps;  x_before = from_start x_0 + from_now x + deviation noise
    """

    timestep: int
    signal: float
    noise_share: float
    from_start: float
    from_now: float
    deviation: float

    def previous(self, latents: Floats, predicted: Floats, noise: Floats) -> Floats:
        """The latents before this step, float32."""
        start = self.signal * latents - self.noise_share * predicted
        before = self.from_start * start + self.from_now * latents + self.deviation * noise
        return np.asarray(before, np.float32)


def alphas_cumprod() -> NDArray[np.float64]:
    """abar_t of Stable Diffusion's schedule, float64 [1000]."""
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS) ** 2
    return np.cumprod(1 - betas)


def spaced_steps(count: int) -> Iterator[Step]:
    """Yields `count` steps, evenly spaced over the training's timesteps, from 999 down to 0.

    A step's beta is what its timestep and the one before it leave of abar; the last step adds no noise.
    """
    stride = (TRAIN_STEPS - 1) / (count - 1) if count > 1 else 1.0
    timesteps = [round(number * stride) for number in range(count)]
    kept = alphas_cumprod()[timesteps]
    before = np.append(1.0, kept[:-1])
    for index in range(count - 1, -1, -1):
        now, then = float(kept[index]), float(before[index])
        alpha = now / then
        variance = (1 - alpha) * (1 - then) / (1 - now)
        yield Step(
            timesteps[index],
            signal=(1 / now) ** 0.5,
            noise_share=(1 / now - 1) ** 0.5,
            from_start=(1 - alpha) * then**0.5 / (1 - now),
            from_now=(1 - then) * alpha**0.5 / (1 - now),
            deviation=variance**0.5,
        )


def with_colours_of(colours: Floats, details: Floats) -> Floats:
    """Wavelet colour correction of [3, H, W]: `details` with the low frequencies of `colours`."""
    corrected: Floats = details - low_frequencies(details) + low_frequencies(colours)
    return corrected


def low_frequencies(image: Floats) -> Floats:
    """What the a-trous wavelet transform leaves: [1, 2, 1] / 4 along each axis, 1 to 16 px apart."""
    for level in range(WAVELET_LEVELS):
        radius = 2**level
        for axis in (1, 2):
            width = image.shape[axis]
            padding = [(radius, radius) if each == axis else (0, 0) for each in range(3)]
            padded = np.pad(image, padding, mode="edge")
            near, here, far = (np.take(padded, range(s, s + width), axis) for s in (0, radius, 2 * radius))
            image = np.asarray((near + 2 * here + far) / 4, image.dtype)
    return image
