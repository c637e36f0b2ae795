"""LQSeg: GleSAM's low-quality images, made by a second-order Real-ESRGAN degradation at 512 x 512.

The levels LQ-1, LQ-2 and LQ-3 differ in one number, the rate of the second stage's downsampling.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .filtering import filtered
from .kernels import random_blur_kernel, random_sinc_kernel, random_size

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

WORKING_SIZE = 512
"""Width and height in px at which the recipe's kernel sizes and rates apply."""
LEVEL_RATES = {1: 1, 2: 2, 3: 4}
"""Downsampling rate of each level."""
TRAINING_RATES = (1, 2, 3, 3, 4, 4, 4, 4)
"""Rates that training draws from with equal probability."""
RESAMPLING = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
JPEG_QUALITY = (30, 95)
GREY_NOISE_PROBABILITY = 0.4
FINAL_SINC_PROBABILITY = 0.8


@dataclass(frozen=True)
class Stage:
    """Ranges and probabilities of one stage's random parts. Sigmas in px (blur) and 8-bit levels (noise)."""

    blur_probability: float
    blur_sigma: tuple[float, float]
    resize_probabilities: tuple[float, float, float]
    scale: tuple[float, float]
    gaussian_sigma: tuple[float, float]
    poisson_scale: tuple[float, float]


FIRST = Stage(1.0, (0.2, 3.0), (0.1, 0.2, 0.7), (0.5, 1.5), (1, 30), (0.05, 3))
SECOND = Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))


def degrade_level(image: Image, level: int, seed: int, name: str) -> Image:
    """The picture `name` at LQ-`level`, a function of (seed, name) and the level alone.

    A name's kernels, noise and compression are the same at all levels, which then differ in their rate
    alone: chance does not blur a comparison of levels.

    Args:
        image: uint8 [H, W, 3], RGB.
        level: 1, 2 or 3.
        seed: 0 or above.
        name: identifies the picture among those of its data set.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: no such level.
    """
    if level not in LEVEL_RATES:
        raise InputError(f"level {level}: expected one of {', '.join(map(str, LEVEL_RATES))}")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    rng = np.random.default_rng((seed, int.from_bytes(digest[:8], "big")))
    return degrade(image, LEVEL_RATES[level], rng)


def degrade(image: Image, rate: int, rng: np.random.Generator) -> Image:
    """Degrades a picture at random.

    Args:
        image: uint8 [H, W, 3], RGB.
        rate: downsampling of the second stage; `LEVEL_RATES` gives each level's.
        rng: the only source of randomness: the same state gives the same picture.

    Returns:
        uint8 [H, W, 3], as large as `image`.
    """
    work = cv2.resize(image, (WORKING_SIZE, WORKING_SIZE), interpolation=cv2.INTER_CUBIC)
    x = _to_float(work)
    x = _jpeg(_noise(_rescale(_blur(x, FIRST, rng), FIRST, 1, rng), FIRST, rng), rng)
    x = _noise(_rescale(_blur(x, SECOND, rng), SECOND, rate, rng), SECOND, rng)
    x = _finish(x, rng)
    back = cv2.resize(x, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    return _to_uint8(back)


def _blur(x: Float, stage: Stage, rng: np.random.Generator) -> Float:
    if rng.random() >= stage.blur_probability:
        return x
    return _filter(x, random_blur_kernel(rng, stage.blur_sigma))


def _filter(x: Float, kernel: Float) -> Float:
    return np.clip(filtered(x, kernel), 0, 1).astype(np.float32)


def _rescale(x: Float, stage: Stage, rate: int, rng: np.random.Generator) -> Float:
    low, high = stage.scale
    direction = rng.choice(3, p=stage.resize_probabilities)
    scale = (rng.uniform(1, high), rng.uniform(low, 1), 1.0)[direction] / rate
    size = max(1, round(x.shape[1] * scale)), max(1, round(x.shape[0] * scale))
    resized = cv2.resize(x, size, interpolation=int(rng.choice(RESAMPLING)))
    return np.clip(resized, 0, 1).astype(np.float32)


def _noise(x: Float, stage: Stage, rng: np.random.Generator) -> Float:
    gaussian = rng.random() < 0.5
    grey = rng.random() < GREY_NOISE_PROBABILITY
    if gaussian:
        shape = (*x.shape[:2], 1) if grey else x.shape
        noise: NDArray[Any] = rng.standard_normal(shape, dtype=np.float32)
        noise = noise * rng.uniform(*stage.gaussian_sigma) / 255
    else:
        base = np.asarray(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY))[..., None] if grey else x
        noise = _poisson_noise(base, rng) * rng.uniform(*stage.poisson_scale)
    return np.clip(x + noise, 0, 1).astype(np.float32)


def _poisson_noise(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Shot noise whose photon count is the power of two above the number of grey levels."""
    levels = np.round(x * 255).astype(np.int64)
    used = int(np.count_nonzero(np.bincount(levels.ravel())))
    photons = 2 ** np.ceil(np.log2(max(2, used)))
    clean = levels / np.float32(255)
    noise: NDArray[Any] = rng.poisson(clean * photons) / photons - clean
    return noise


def _jpeg(x: Float, rng: np.random.Generator) -> Float:
    quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    bgr = cv2.cvtColor(_to_uint8(x * 255), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return _to_float(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _finish(x: Float, rng: np.random.Generator) -> Float:
    """Applies JPEG and, 8 times in 10, a last sinc filter, in either order; returns values in [0, 255]."""
    sinc_first = rng.random() < 0.5
    with_sinc = rng.random() < FINAL_SINC_PROBABILITY
    kernel = random_sinc_kernel(rng, random_size(rng)) if with_sinc else None
    for step in ("sinc", "jpeg") if sinc_first else ("jpeg", "sinc"):
        if step == "jpeg":
            x = _jpeg(x, rng)
        elif kernel is not None:
            x = _filter(x, kernel)
    return x * 255


def _to_float(image: NDArray[Any]) -> Float:
    scaled: Float = image.astype(np.float32) / np.float32(255)
    return scaled


def _to_uint8(x: NDArray[Any]) -> Image:
    return np.clip(np.round(x), 0, 255).astype(np.uint8)
