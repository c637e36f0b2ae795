"""Training batches as a pure function of (seed, step): resuming needs no sampler state."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glesam.data.augmentation import Image, View, jitter_colours, random_view
from glesam.data.compositing import paste_object
from glesam.data.label_maps import MIN_OBJECT_PX
from glesam.data.masks import Mask, MaskLayers
from glesam.data.prompts import PromptKind, random_prompt
from glesam.data.sample import Dataset, Sample
from glesam_runtime.degradation.lqseg import TRAINING_RATES, degrade
from glesam_runtime.errors import InputError

PROMPT_TOKENS = 4
"""Points per prompt after padding: three points and SAM's padding point, or a box and two padding points."""
MAX_POINTS = PROMPT_TOKENS - 1
PIXEL_MEAN = (124, 116, 104)
"""SAM's, rounded: normalization turns this padding into (nearly) the zeros that SAM pads with."""
MAX_DRAWS = 1000
PADDING_LABEL = 254
"""Label of the padding around a picture."""
MAX_PASTED = 3
"""Largest number of objects pasted into one picture."""
DrawnT = TypeVar("DrawnT")


@dataclass(frozen=True)
class Batch:
    """B pictures of S x S with K objects and one prompt each.

    `image` (clean) and `degraded`: float32 [B, 3, S, S], RGB in [0, 255]. `labels` uint8 [B, S, S]:
    every object of a picture, smaller ones over larger ones; 0 is no object, 254 padding. `masks` float32
    [B*K, S, S], 0 or 1, row by row. `point_coords` float32 [B*K, 4, 2], px in the S x S frame;
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
    """How batches are drawn: `size` pictures of `image_size` px, padded at the bottom and right.

    With `squash` pictures fill the square instead, as SAM 2's do (`glesam.data.augmentation.random_view`).

    `scale` bounds the pictures' random size, 1 being the fit of the longest side into `image_size`:
    above 1 a batch holds crops, whose objects are as large as in a larger input. `affine_share` of them
    are rotated and sheared, and into `paste_share` objects of other pictures are pasted.

    `with_degraded`: `Batch.degraded` is degraded in all but `clean_share` of the rows; otherwise it is the
    clean picture. `prompts`: boxes, points (`points` bounds their number), or both mixed.
    """

    size: int
    image_size: int
    seed: int
    objects_per_image: int = 4
    scale: tuple[float, float] = (0.75, 1.5)
    with_degraded: bool = False
    clean_share: float = 0.2
    prompts: PromptKind = "both"
    points: tuple[int, int] = (1, MAX_POINTS)
    affine_share: float = 0.5
    paste_share: float = 0.0
    squash: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.points[0] <= self.points[1] <= MAX_POINTS:
            raise InputError(f"points: expected a range within 1 to {MAX_POINTS}, found {self.points}")


@dataclass(frozen=True)
class SamplePool:
    """Pictures of several data sets, drawn at random by the weight of their set."""

    datasets: Sequence[Dataset]

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        weights = np.array([dataset.weight for dataset in self.datasets])
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify these sets by names and weights, not by pixels."""
        sets = [[dataset.name, dataset.weight, *dataset.names] for dataset in self.datasets]
        return hashlib.sha256(json.dumps(sets).encode()).hexdigest()[:16]

    def draw(self, rng: np.random.Generator) -> Sample:
        dataset = self.datasets[rng.choice(len(self.datasets), p=self.probabilities)]
        return dataset[int(rng.integers(len(dataset)))]


def make_batch(pool: SamplePool, plan: BatchPlan, step: int, rows: range | None = None) -> Batch:
    """The batch of a step, or some of its rows.

    Row i depends on the plan's seed, `step` and i alone: processes that share a batch each draw their own
    rows, the same ones as a single process would.

    Raises:
        InputError: a file is not what it should be, or the pool has no objects.
        OSError: a file cannot be read.
    """
    chosen = range(plan.size) if rows is None else rows
    drawn = [draw_row(pool, plan, np.random.default_rng((plan.seed, step, row))) for row in chosen]
    images, degraded, label_maps, masks, coords, labels = zip(*drawn, strict=True)
    return Batch(
        to_tensor(images),
        to_tensor(degraded),
        torch.from_numpy(np.stack(label_maps)),
        torch.from_numpy(np.concatenate(masks).astype(np.float32)),
        torch.from_numpy(np.concatenate(coords)),
        torch.from_numpy(np.concatenate(labels)),
    )


def to_tensor(images: Sequence[Image]) -> Tensor:
    """Stacks pictures uint8 [H, W, 3] to float32 [B, 3, H, W], in [0, 255]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().contiguous(memory_format=torch.channels_last)


Objects = tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int32]]
"""Masks [K, S, S] and a prompt for each: coordinates [K, 4, 2] and labels [K, 4]."""
Row = tuple[Image, Image, NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32], NDArray[np.int32]]


def draw_row(pool: SamplePool, plan: BatchPlan, rng: np.random.Generator) -> Row:
    """Draws one row: a picture, its degraded version, its label map and its objects."""
    view, degraded = draw_twins(pool, plan, rng)
    objects = draw_objects(view.masks, plan, rng)
    size = plan.image_size
    return (
        pad_to(size, view.image, PIXEL_MEAN),
        pad_to(size, degraded, PIXEL_MEAN),
        pad_to(size, view.masks.painted(), PADDING_LABEL),
        *objects,
    )


def draw_twins(pool: SamplePool, plan: BatchPlan, rng: np.random.Generator) -> tuple[View, Image]:
    """Draws a view and its degraded picture, which is the clean one in `clean_share` of the draws."""
    view, rate = draw_view_and_rate(pool, plan, rng)
    return view, view.image if rate is None else degrade(view.image, rate, rng)


def draw_view_and_rate(
    pool: SamplePool, plan: BatchPlan, rng: np.random.Generator
) -> tuple[View, int | None]:
    """Draws a view and the downsampling rate of its degradation; None: it stays clean."""
    view = draw_view(pool, plan, rng)
    if not plan.with_degraded or rng.random() < plan.clean_share:
        return view, None
    return view, int(rng.choice(TRAINING_RATES))


def draw_objects(masks: MaskLayers, plan: BatchPlan, rng: np.random.Generator) -> Objects:
    """Draws K of a view's masks, padded, with a prompt each."""
    drawn = draw_masks(masks, plan.objects_per_image, rng)
    prompts = [random_prompt(m, rng, plan.prompts, plan.points).padded(PROMPT_TOKENS) for m in drawn]
    return (
        np.stack([pad_to(plan.image_size, mask, False) for mask in drawn]),
        np.stack([prompt.coords for prompt in prompts]),
        np.stack([prompt.labels for prompt in prompts]),
    )


def draw_view(pool: SamplePool, plan: BatchPlan, rng: np.random.Generator) -> View:
    """Draws a view with at least one object; a crop without any is drawn again."""
    for _ in range(MAX_DRAWS):
        sample = pool.draw(rng)
        masks = MaskLayers.of(sample.masks, sample.image.shape[:2])
        view = random_view(
            sample.image, masks, plan.image_size, plan.scale, plan.affine_share, rng, plan.squash
        )
        view = View(jitter_colours(view.image, rng), view.masks, view.scale)
        min_px = int(MIN_OBJECT_PX * view.scale**2)
        if rng.random() < plan.paste_share:
            for _ in range(int(rng.integers(1, MAX_PASTED + 1))):
                view = paste_object(view, pool.draw(rng), min_px, rng)
        if kept := view.masks.at_least(min_px, PADDING_LABEL - 1):
            return View(view.image, kept, view.scale)
    raise InputError(f"no object of {MIN_OBJECT_PX} px in {MAX_DRAWS} pictures; check their masks")


def draw_masks(masks: MaskLayers, count: int, rng: np.random.Generator) -> list[Mask]:
    """Draws `count` masks, all different where there are enough."""
    return [masks[int(i)] for i in np.resize(rng.permutation(len(masks)), count)]


def pad_to(size: int, x: NDArray[Any], value: Any) -> NDArray[Any]:  # noqa: ANN401
    """Pads with `value` at the bottom and right, to size x size."""
    height, width = x.shape[:2]
    padded = np.empty((size, size, *x.shape[2:]), dtype=x.dtype)
    padded[:height, :width] = x
    padded[height:] = value
    padded[:height, width:] = value
    return padded


def batches(
    pool: SamplePool, plan: BatchPlan, rows: range | None = None, workers: int = 1
) -> Callable[[range], Iterator[Batch]]:
    """A function from steps to their batches, or some of their rows, with the next `workers` drawn ahead."""
    return lambda steps: prefetch(lambda step: make_batch(pool, plan, step, rows), steps, workers)


def prefetch(
    draw: Callable[[int], DrawnT], steps: Iterable[int], workers: int = 1
) -> Generator[DrawnT, None, None]:
    """Yields `draw` of each step in order; threads draw the next `workers` while the caller works."""
    with ThreadPoolExecutor(max_workers=workers) as threads:
        coming = iter(steps)
        pending: deque[Future[DrawnT]] = deque()
        try:
            for step in islice(coming, workers + 1):
                pending.append(threads.submit(draw, step))
            while pending:
                drawn = pending.popleft().result()
                pending.extend(threads.submit(draw, step) for step in islice(coming, 1))
                yield drawn
        finally:
            threads.shutdown(cancel_futures=True)
