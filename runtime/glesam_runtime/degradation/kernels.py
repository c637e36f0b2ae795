"""Blur kernels of Real-ESRGAN's degradation (Wang et al., 2021, section 3): float32 [k, k], sum 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

Kernel = NDArray[np.float32]

SHAPES = ("gaussian", "generalized", "plateau")
SHAPE_PROBABILITIES = (0.45 + 0.25, 0.12 + 0.03, 0.12 + 0.03)
ISOTROPIC_SHARE = {"gaussian": 0.45 / 0.70, "generalized": 0.12 / 0.15, "plateau": 0.12 / 0.15}
SINC_PROBABILITY = 0.1
BETA_RANGES = {"gaussian": (1.0, 1.0), "generalized": (0.5, 4.0), "plateau": (1.0, 2.0)}


def random_size(rng: np.random.Generator) -> int:
    """A random odd size, 7 to 21 px."""
    return int(2 * rng.integers(3, 11) + 1)


def random_blur_kernel(rng: np.random.Generator, sigma_range: tuple[float, float]) -> Kernel:
    """A kernel from Real-ESRGAN's mixture: 1 in 10 a sinc, else Gaussian-like."""
    size = random_size(rng)
    if rng.random() < SINC_PROBABILITY:
        return random_sinc_kernel(rng, size)
    shape = str(rng.choice(SHAPES, p=SHAPE_PROBABILITIES))
    sigma_x = sigma_y = rng.uniform(*sigma_range)
    angle = 0.0
    if rng.random() >= ISOTROPIC_SHARE[shape]:
        sigma_y, angle = rng.uniform(*sigma_range), rng.uniform(-math.pi, math.pi)
    low, high = BETA_RANGES[shape]
    # Flat-topped and peaked shapes are drawn equally often, as in Real-ESRGAN.
    beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return gaussian_like_kernel(size, sigma_x, sigma_y, angle, beta, plateau=shape == "plateau")


def gaussian_like_kernel(
    size: int, sigma_x: float, sigma_y: float, angle: float, beta: float, *, plateau: bool
) -> Kernel:
    """exp(-d^beta / 2), or 1 / (1 + d^beta) for a plateau, with d the squared Mahalanobis distance.

    Args:
        sigma_x, sigma_y: standard deviations along the kernel's own axes, px.
        angle: rotation of those axes, rad.
    """
    steps = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(steps, steps)
    along = (math.cos(angle) * x + math.sin(angle) * y) / sigma_x
    across = (-math.sin(angle) * x + math.cos(angle) * y) / sigma_y
    distance = (along**2 + across**2) ** beta
    kernel = 1 / (1 + distance) if plateau else np.exp(-0.5 * distance)
    return _normalized(kernel)


def random_sinc_kernel(rng: np.random.Generator, size: int) -> Kernel:
    """A ringing low-pass kernel, its cutoff between pi/3 (small kernels) or pi/5 (large ones) and pi."""
    lowest = math.pi / 3 if size < 13 else math.pi / 5
    return sinc_kernel(size, rng.uniform(lowest, math.pi))


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """The ideal circular low-pass filter: cutoff J1(cutoff r) / (2 pi r); cutoff in rad per px."""
    steps = np.arange(size) - (size - 1) / 2
    radius = np.hypot(*np.meshgrid(steps, steps))
    safe = np.where(radius == 0, 1, radius)
    kernel = np.where(
        radius == 0, cutoff**2 / (4 * math.pi), cutoff * j1(cutoff * safe) / (2 * math.pi * safe)
    )
    return _normalized(kernel)


def _normalized(kernel: NDArray[np.float64]) -> Kernel:
    normalized: Kernel = (kernel / kernel.sum()).astype(np.float32)
    return normalized
