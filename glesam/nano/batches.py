"""Batches of nano's stages on pictures: views of photographs with prompts for objects and regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from glesam.data.augmentation import Image, View
from glesam.data.batches import BatchPlan, SamplePool, draw_masks, draw_twins, pad_to, prefetch, to_tensor
from glesam.data.masks import Mask
from glesam.data.prompts import PointPrompt
from glesam.data.regions import LASTING, random_regions
from glesam.nano.prompts import MASK_STRIDE, OF_OBJECTS, OF_REGIONS, draw_prompt
from glesam_runtime.prompts import BOX_TOP_LEFT

PADDING_COLOUR = (127, 127, 127)
"""Becomes zero once normalized."""
PART_WEIGHT = 0.3
"""Weight of mask 0 in stage "sam" where a point marks a part of an object: it may as well mean the whole.
One of the other masks is to find the part, at full weight."""


@dataclass(frozen=True)
class PromptBatch:
    """B pictures [B, 3, S, S], RGB in [0, 255], with K prompts each, picture by picture; N = B K.

    `image` is degraded where the plan says so, and `clean` [B, 3, S, S] the same picture before.
    `masks` [N, 1, S/4, S/4] are the shares of each 4 x 4 px, in [0, 1]; `point_coords` [N, P, 2] px;
    `point_labels` [N, P]; `single_weights` [N] weigh mask 0 (`glesam.training.mask_loss.mask_losses`).
    """

    image: Tensor
    clean: Tensor
    masks: Tensor
    point_coords: Tensor
    point_labels: Tensor
    single_weights: Tensor


@dataclass(frozen=True)
class Target:
    """A mask bool [H, W] with a prompt for it."""

    mask: Mask
    prompt: PointPrompt
    single_weight: float = 1.0


@dataclass(frozen=True)
class RegionPlan:
    """In `share` of the views, `count` of the targets are regions (`glesam.data.regions`).

    They are more where a view has fewer objects than targets, and fewer where fewer are found. `part_weight`
    as in `region_target`; `lasting` as in `random_regions`.
    """

    share: float = 0.7
    count: int = 4
    part_weight: float = PART_WEIGHT
    lasting: float = LASTING


def object_target(mask: Mask, rng: np.random.Generator) -> Target:
    """A labelled object with a prompt."""
    return Target(mask, draw_prompt(mask, rng, OF_OBJECTS))


def region_target(
    mask: Mask, is_part: bool, rng: np.random.Generator, part_weight: float = PART_WEIGHT
) -> Target:
    """A region with a prompt; `is_part`: it lies in a labelled object, which points may mean instead."""
    prompt = draw_prompt(mask, rng, OF_REGIONS)
    is_box = prompt.labels[0] == BOX_TOP_LEFT
    return Target(mask, prompt, part_weight if is_part and not is_box else 1.0)


def draw_targets(view: View, count: int, regions: RegionPlan, rng: np.random.Generator) -> list[Target]:
    """`count` targets of a view: regions, and its labelled objects."""
    wanted = max(regions.count, count - len(view.masks)) if rng.random() < regions.share else 0
    most = min(wanted, count - 1)
    found = random_regions(view.image, view.masks.painted(), most, rng, regions.lasting)
    targets = [region_target(region.mask, region.is_part, rng, regions.part_weight) for region in found]
    return targets + [object_target(mask, rng) for mask in draw_masks(view.masks, count - len(found), rng)]


def make_prompt_batch(pool: SamplePool, plan: BatchPlan, regions: RegionPlan, step: int) -> PromptBatch:
    """The batch of a step: row i depends on the plan's seed, `step` and i alone."""
    clean_pictures, degraded_pictures, targets = list[Image](), list[Image](), list[Target]()
    for row in range(plan.size):
        rng = np.random.default_rng((plan.seed, step, row))
        view, degraded = draw_twins(pool, plan, rng)
        clean_pictures.append(pad_to(plan.image_size, view.image, PADDING_COLOUR))
        degraded_pictures.append(pad_to(plan.image_size, degraded, PADDING_COLOUR))
        targets += draw_targets(view, plan.objects_per_image, regions, rng)
    clean = to_tensor(clean_pictures)
    image = to_tensor(degraded_pictures) if plan.with_degraded else clean
    return PromptBatch(image, clean, *tensors_of(targets, plan.image_size))


def tensors_of(targets: list[Target], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`masks`, `point_coords`, `point_labels` and `single_weights` of a `PromptBatch` of `size` px."""
    masks = np.stack([pad_to(size, one.mask, False) for one in targets])
    full = torch.from_numpy(masks[:, None].astype(np.float32))
    return (
        interpolate(full, scale_factor=1 / MASK_STRIDE, mode="area"),
        torch.from_numpy(np.stack([one.prompt.coords for one in targets])),
        torch.from_numpy(np.stack([one.prompt.labels for one in targets])),
        torch.tensor([one.single_weight for one in targets]),
    )


def prompt_batches(
    pool: SamplePool, plan_of: Callable[[int], BatchPlan], regions: RegionPlan
) -> Callable[[range], Iterator[PromptBatch]]:
    """A function from steps to their batches, with the next drawn ahead; `plan_of`: the plan of a step."""
    return lambda steps: prefetch(lambda step: make_prompt_batch(pool, plan_of(step), regions, step), steps)
