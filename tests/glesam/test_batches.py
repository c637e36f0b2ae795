"""A batch is a pure function of (seed, step)."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glesam.data.batches import PADDING_LABEL, PIXEL_MEAN, Batch, BatchPlan, SamplePool, make_batch, prefetch
from glesam.data.label_maps import TRAIN_SETS, Sample, load_samples

PLAN = BatchPlan(size=3, image_size=64, seed=7, objects_per_image=2, with_degraded=True)


@pytest.fixture(scope="module")
def pool(data: Path) -> SamplePool:
    return SamplePool(list(load_samples(data, TRAIN_SETS, dev=False)))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch))


def test_shapes_dtypes_and_ranges_are_as_documented(pool: SamplePool) -> None:
    batch = make_batch(pool, PLAN, 0)
    for pictures in (batch.image, batch.degraded):
        assert pictures.shape == (3, 3, 64, 64)
        assert pictures.dtype == torch.float32
        assert 0 <= float(pictures.min()) < float(pictures.max()) <= 255
    assert batch.labels.shape == (3, 64, 64)
    assert batch.labels.dtype == torch.uint8
    assert batch.masks.shape == (6, 64, 64)
    assert batch.masks.dtype == torch.float32
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    assert batch.point_coords.shape == (6, 4, 2)
    assert batch.point_coords.dtype == torch.float32
    assert batch.point_labels.shape == (6, 4)
    assert batch.point_labels.dtype == torch.int32


def test_a_step_gives_one_batch_whatever_came_before(pool: SamplePool) -> None:
    first = make_batch(pool, PLAN, 3)
    make_batch(pool, PLAN, 4)
    np.random.default_rng(0).random()
    torch.manual_seed(1)
    assert same(make_batch(pool, PLAN, 3), first)


def test_other_steps_and_other_seeds_give_other_batches(pool: SamplePool) -> None:
    first = make_batch(pool, PLAN, 3)
    assert not same(make_batch(pool, PLAN, 4), first)
    assert not same(make_batch(pool, replace(PLAN, seed=8), 3), first)


def test_masks_are_objects_of_their_own_picture_and_prompts_fit_them(pool: SamplePool) -> None:
    for step in range(4):
        batch = make_batch(pool, PLAN, step)
        for i, (mask, coords, labels) in enumerate(
            zip(batch.masks, batch.point_coords, batch.point_labels, strict=True)
        ):
            covered = batch.labels[i // 2][mask.bool()]
            assert len(covered.unique()) == 1, "one label, and of picture i // K"
            assert int(covered[0]) != PADDING_LABEL
            for (x, y), label in zip(coords.tolist(), labels.tolist(), strict=True):
                assert label in (-1, 1, 2, 3)
                if label == 1:
                    assert mask[int(y), int(x)] == 1
                assert 0 <= x <= 64 and 0 <= y <= 64


def test_padding_is_the_mean_colour_no_label_and_no_mask(pool: SamplePool) -> None:
    """Pictures of 96 x 80 never fill a square."""
    padded = 0
    for step in range(4):
        batch = make_batch(pool, PLAN, step)
        outside = batch.labels == PADDING_LABEL
        padded += int(outside.sum())
        for pictures in (batch.image, batch.degraded):
            colours = pictures.permute(0, 2, 3, 1)[outside]
            assert (colours == torch.tensor(PIXEL_MEAN, dtype=torch.float32)).all()
        assert not batch.masks.reshape(3, 2, 64, 64)[outside.unsqueeze(1).expand(-1, 2, -1, -1)].any()
    assert padded > 0


def test_the_degraded_twin_is_damaged_only_where_it_is_asked_for(pool: SamplePool) -> None:
    damaged = make_batch(pool, PLAN, 0)
    assert (damaged.image - damaged.degraded).abs().mean() > 1
    clean = make_batch(pool, replace(PLAN, with_degraded=False), 0)
    assert torch.equal(clean.image, clean.degraded)


def test_sets_are_drawn_by_their_weights_whatever_their_sizes(data: Path) -> None:
    heavy, light = replace(TRAIN_SETS[0], weight=0.75), replace(TRAIN_SETS[1], weight=0.25)
    blank = np.zeros((8, 8), np.uint8)
    picture = np.zeros((8, 8, 3), np.uint8)
    samples = [Sample(heavy, "a", picture, blank), *(Sample(light, s, picture, blank) for s in "bcdefgh")]
    pool = SamplePool(samples)
    rng = np.random.default_rng(0)
    drawn = [pool.draw(rng).stem for _ in range(2000)]
    assert 0.70 < drawn.count("a") / 2000 < 0.80
    assert min(drawn.count(stem) for stem in "bcdefgh") > 30


@pytest.mark.parametrize("steps", [range(2, 6), range(3, 4), range(5, 5)])
def test_prefetching_yields_the_same_batches_in_order(pool: SamplePool, steps: range) -> None:
    fetched = list(prefetch(pool, PLAN, steps))
    assert len(fetched) == len(steps)
    assert all(same(make_batch(pool, PLAN, s), batch) for s, batch in zip(steps, fetched, strict=True))


def test_an_error_while_drawing_reaches_the_training_loop() -> None:
    with pytest.raises(ValueError):
        next(prefetch(SamplePool([]), PLAN, range(2)))


def test_data_without_a_single_object_is_an_error_instead_of_an_endless_search(pool: SamplePool) -> None:
    empty = [replace(sample, labels=np.zeros_like(sample.labels)) for sample in pool.samples[:2]]
    with pytest.raises(ValueError, match="no object of 400 px"):
        make_batch(SamplePool(empty), replace(PLAN, size=1), 0)
