"""Training batches as a pure function of (seed, step): resuming needs no sampler state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glesam.data.degradation import TRAINING_RATES, degrade
from glesam.data.label_maps import MIN_OBJECT_PX, Sample, objects
from glesam.data.prompts import random_prompt

Image = NDArray[np.uint8]

PROMPT_TOKENS = 4
"""Points per prompt after padding: three points and SAM's padding point, or a box and two paddings."""
PIXEL_MEAN = (124, 116, 104)
"""SAM's, rounded: normalization turns this padding into (nearly) the zeros that SAM pads with."""
MAX_DRAWS = 1000
PADDING_LABEL = 254
"""No set uses it; 255 is a common label of binary masks."""


@dataclass(frozen=True)
class Batch:
    """B pictures of S x S with K objects and one prompt each.

    `image` (clean) and `degraded`: float32 [B, 3, S, S], RGB in [0, 255]. `labels` uint8 [B, S, S].
    `masks` float32 [B*K, S, S], 0 or 1. `point_coords` float32 [B*K, 4, 2], px in the S x S frame;
    `point_labels` int32 [B*K, 4].
    """

    image: Tensor
    degraded: Tensor
    labels: Tensor
    masks: Tensor
    point_coords: Tensor
    point_labels: Tensor


@dataclass(frozen=True)
class BatchPlan:
    """How batches are drawn. Without `with_degraded`, `Batch.degraded` is the clean picture.

    `scale` bounds the pictures' random size, 1 being the fit of the longest side into `image_size`:
    above 1 a batch holds crops, whose objects are as large as in a larger input.
    """

    size: int
    image_size: int
    seed: int
    objects_per_image: int = 4
    scale: tuple[float, float] = (0.75, 1.5)
    with_degraded: bool = False


@dataclass(frozen=True)
class SamplePool:
    """Pictures in memory, drawn by the weight of their set."""

    samples: Sequence[Sample]

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        counts = Counter(sample.description for sample in self.samples)
        weights = [s.description.weight / counts[s.description] for s in self.samples]
        return np.array(weights) / sum(weights)

    def draw(self, rng: np.random.Generator) -> Sample:
        return self.samples[rng.choice(len(self.samples), p=self.probabilities)]


def make_batch(pool: SamplePool, plan: BatchPlan, step: int) -> Batch:
    rng = np.random.default_rng((plan.seed, step))
    rows = [_draw(pool, plan, rng) for _ in range(plan.size)]
    images, degraded, label_maps, masks, coords, labels = zip(*rows, strict=True)
    return Batch(
        _to_tensor(images),
        _to_tensor(degraded),
        torch.from_numpy(np.stack(label_maps)),
        torch.from_numpy(np.concatenate(masks).astype(np.float32)),
        torch.from_numpy(np.concatenate(coords)),
        torch.from_numpy(np.concatenate(labels)),
    )


def _to_tensor(images: Sequence[Image]) -> Tensor:
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().contiguous(memory_format=torch.channels_last)


Labels = NDArray[np.uint8]
Row = tuple[Image, Image, Labels, NDArray[np.bool_], NDArray[np.float32], NDArray[np.int32]]


def _draw(pool: SamplePool, plan: BatchPlan, rng: np.random.Generator) -> Row:
    """One picture, its degraded twin and label map, and K masks with a prompt each."""
    for _ in range(MAX_DRAWS):  # a crop may hold no object
        sample = pool.draw(rng)
        image, labels, scale = _augment(sample, plan, rng)
        found = objects(labels, sample.description.ignored_labels, int(MIN_OBJECT_PX * scale**2))
        if found:
            break
    else:
        raise ValueError(f"no object of {MIN_OBJECT_PX} px in {MAX_DRAWS} pictures; check the label maps")
    damaged = image
    if plan.with_degraded:
        damaged = degrade(image, int(rng.choice(TRAINING_RATES)), rng)
    chosen = rng.choice(len(found), plan.objects_per_image)
    masks = [_pad(found[i], plan.image_size, False) for i in chosen]
    prompts = [random_prompt(mask, rng).padded(PROMPT_TOKENS) for mask in masks]
    return (
        _pad(image, plan.image_size, PIXEL_MEAN),
        _pad(damaged, plan.image_size, PIXEL_MEAN),
        _pad(labels, plan.image_size, PADDING_LABEL),
        np.stack(masks),
        np.stack([prompt.coords for prompt in prompts]),
        np.stack([prompt.labels for prompt in prompts]),
    )


def _augment(sample: Sample, plan: BatchPlan, rng: np.random.Generator) -> tuple[Image, Labels, float]:
    """Random size, flip, crop to at most S x S, colours; also returns the size's factor."""
    size = plan.image_size
    height, width = sample.labels.shape
    zoom = float(np.exp(rng.uniform(*np.log(plan.scale))))
    scale = size / max(height, width) * zoom
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    resample = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(sample.image, shape, interpolation=resample)
    labels = cv2.resize(sample.labels, shape, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    left = int(rng.integers(0, max(1, shape[0] - size + 1)))
    top = int(rng.integers(0, max(1, shape[1] - size + 1)))
    window = slice(top, top + size), slice(left, left + size)
    jittered = _jitter_colours(np.asarray(image[window], np.uint8), rng)
    return jittered, np.ascontiguousarray(labels[window]), scale


def _jitter_colours(image: Image, rng: np.random.Generator) -> Image:
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3)
    shifted = image.astype(np.float32) * gain + rng.uniform(-20, 20)
    return np.clip(shifted, 0, 255).astype(np.uint8)


def _pad(x: NDArray[Any], size: int, value: Any) -> NDArray[Any]:  # noqa: ANN401
    """Bottom and right, to size x size."""
    padded = np.empty((size, size, *x.shape[2:]), dtype=x.dtype)
    padded[:] = value
    padded[: x.shape[0], : x.shape[1]] = x
    return padded


def prefetch(pool: SamplePool, plan: BatchPlan, steps: range) -> Iterator[Batch]:
    """`make_batch` for each step, the next one drawn by a thread while the model trains."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = None
        for step in steps:
            following = worker.submit(make_batch, pool, plan, step)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
