"""Views whose clean and degraded pictures are encoded once; GLE learns from them, then the decoder too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glesam.data.augmentation import Image, View
from glesam.data.batches import SamplePool, draw_masks, draw_view_and_rate, prefetch
from glesam.data.regions import LASTING, random_regions
from glesam.degradation_level import level_of_rate
from glesam.nano.batches import Target, object_target, region_target, tensors_of
from glesam.official.tensor_files import read_tensors
from glesam.training.encoded_views import CLEAN, RAW, VIEW_ROW, StoredViews, masks_of
from glesam_runtime.errors import InputError

OBJECT, REGION, PART = 0, 1, 2
"""What a mask of a stored view is."""
REGIONS_PER_VIEW = 6


@dataclass(frozen=True)
class CleanAndDegraded:
    """Both embeddings of every view (`glesam.training.encoded_views.Kinds`)."""

    def kinds(self) -> tuple[str, ...]:
        return CLEAN, RAW


@dataclass(frozen=True, eq=False)
class ViewWithRegions(View):
    """A view whose last masks are regions; `origins` uint8 [masks]: OBJECT, REGION or PART."""

    origins: NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """B pairs of embeddings, float32 [B, 256, S/16, S/16]."""

    clean: Tensor
    degraded: Tensor


@dataclass(frozen=True)
class LeveledPairs(Pairs):
    """Pairs of embeddings and the degradation levels of the degraded ones, float32 [B]."""

    levels: Tensor


@dataclass(frozen=True)
class AuxiliaryPairs(Pairs):
    """Pairs of embeddings and the views' auxiliary images, float32 [B, 1, S, S] in [0, 1].

    For callers of the library, who make them of their own data: no command trains a GLE with that input.
    """

    auxiliary: Tensor


@dataclass(frozen=True)
class PairBatch(Pairs):
    """Pairs of embeddings with K prompts each, as in `PromptBatch`."""

    masks: Tensor
    point_coords: Tensor
    point_labels: Tensor
    single_weights: Tensor


@dataclass(frozen=True)
class PairedViews(StoredViews):
    """`count` views in a folder with their clean and degraded embeddings, objects and regions.

    `lasting` as in `random_regions`.
    """

    mixture: CleanAndDegraded = CleanAndDegraded()
    lasting: float = LASTING
    masks: ClassVar[tuple[str, ...]] = ("layers", "places", "origins")

    def how_drawn(self) -> dict[str, Any]:
        return {**super().how_drawn(), "lasting": self.lasting}

    def draw(self, pool: SamplePool, index: int) -> tuple[View, Image]:
        """A view with regions added to its masks, and its degraded picture."""
        view, degraded = super().draw(pool, index)
        rng = np.random.default_rng((self.plan.seed, index, VIEW_ROW + 1))
        masks, origins = view.masks, [OBJECT] * len(view.masks)
        for region in random_regions(view.image, masks.painted(), REGIONS_PER_VIEW, rng, self.lasting):
            masks = masks.with_mask(region.mask)
            origins.append(PART if region.is_part else REGION)
        return ViewWithRegions(view.image, masks, view.scale, np.array(origins, np.uint8)), degraded

    def mask_tensors(self, view: View) -> dict[str, Tensor]:
        assert isinstance(view, ViewWithRegions)
        return {**super().mask_tensors(view), "origins": torch.from_numpy(view.origins)}

    def pairs(self, size: int, seed: int, step: int) -> Pairs:
        """The `size` pairs of a step, without prompts."""
        views = [self.read(np.random.default_rng((seed, step, row))) for row in range(size)]
        return Pairs(*(torch.stack([view[kind] for view in views]).float() for kind in (CLEAN, RAW)))

    def leveled_pairs(self, levels: Tensor, size: int, seed: int, step: int) -> LeveledPairs:
        """The `size` pairs of a step with their part of `levels`, float32 [count]."""
        rows = [np.random.default_rng((seed, step, row)) for row in range(size)]
        chosen = [int(rng.integers(self.count)) for rng in rows]
        pairs = self.pairs(size, seed, step)
        return LeveledPairs(pairs.clean, pairs.degraded, levels[chosen])

    def level(self, pool: SamplePool, index: int) -> float:
        """The degradation level of one view.

        Its file does not hold it; the view is drawn again, up to where its rate is.
        """
        rng = np.random.default_rng((self.plan.seed, index, VIEW_ROW))
        return level_of_rate(draw_view_and_rate(pool, self.plan, rng)[1])

    def batch(self, size: int, prompts: int, seed: int, step: int, part_weight: float = 1.0) -> PairBatch:
        """The batch of a step, with `prompts` prompts for each of `size` views."""
        clean, degraded, targets = [], [], list[Target]()
        for row in range(size):
            rng = np.random.default_rng((seed, step, row))
            view = self.read(rng)
            clean.append(view[CLEAN].float())
            degraded.append(view[RAW].float())
            targets += draw_targets_of(view, prompts, rng, part_weight)
        return PairBatch(
            torch.stack(clean), torch.stack(degraded), *tensors_of(targets, self.plan.image_size)
        )

    def read(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """The file of a random view."""
        return self.read_at(int(rng.integers(self.count)))

    def read_at(self, index: int) -> dict[str, Tensor]:
        """The file of one view. Raises CheckpointError where it cannot be read."""
        return read_tensors(self.path(index))


def draw_targets_of(
    view: dict[str, Tensor], count: int, rng: np.random.Generator, part_weight: float = 1.0
) -> list[Target]:
    """`count` targets of a stored view: up to half are regions, more where it has few objects."""
    masks, origins = masks_of(view), view["origins"].numpy()
    if not len(masks):
        raise InputError("a stored view holds no mask; remove the folder of views, and they are encoded anew")
    regions = rng.permutation(np.flatnonzero(origins != OBJECT))
    chosen = regions[: max(count // 2, count - int((origins == OBJECT).sum()))][: count - 1]
    targets = [region_target(masks[int(i)], origins[i] == PART, rng, part_weight) for i in chosen]
    objects = type(masks)(
        masks.layers, tuple(p for p, o in zip(masks.places, origins, strict=True) if o == OBJECT)
    )
    return targets + [object_target(mask, rng) for mask in draw_masks(objects, count - len(targets), rng)]


def pair_batches(
    views: PairedViews, size: int, prompts: int, seed: int, part_weight: float = 1.0
) -> Callable[[range], Iterator[PairBatch]]:
    """A function from steps to their batches, with the next one read ahead."""
    return lambda steps: prefetch(lambda step: views.batch(size, prompts, seed, step, part_weight), steps)
