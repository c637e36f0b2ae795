"""A batch is a pure function of (seed, step), row by row."""

from __future__ import annotations

import threading
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from glesam.data.batches import PADDING_LABEL, PIXEL_MEAN, Batch, BatchPlan, SamplePool, batches, make_batch
from glesam.data.prompts import PromptKind
from glesam.data.sample import Dataset, Sample

PLAN = BatchPlan(size=3, image_size=64, seed=7, objects_per_image=2, with_degraded=True)


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


def test_the_degraded_picture_differs_only_with_with_degraded(pool: SamplePool) -> None:
    damaged = make_batch(pool, replace(PLAN, clean_share=0.0), 0)
    assert (damaged.image - damaged.degraded).abs().mean() > 1
    for plan in (replace(PLAN, with_degraded=False), replace(PLAN, clean_share=1.0)):
        clean = make_batch(pool, plan, 0)
        assert torch.equal(clean.image, clean.degraded)


def test_clean_share_of_the_rows_stays_clean(pool: SamplePool) -> None:
    batch = make_batch(pool, replace(PLAN, size=40, clean_share=0.3), 0)
    clean = (batch.image == batch.degraded).flatten(1).all(dim=1)
    assert 5 <= int(clean.sum()) <= 20


def test_a_row_is_the_same_whoever_draws_it(pool: SamplePool) -> None:
    """Processes that share a batch each draw their rows of it."""
    whole = make_batch(pool, PLAN, 5)
    parts = [make_batch(pool, PLAN, 5, rows) for rows in (range(0, 1), range(1, 3))]
    for field in fields(Batch):
        together = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(together, getattr(whole, field.name)), field.name


def test_rows_of_one_batch_differ(pool: SamplePool) -> None:
    batch = make_batch(pool, replace(PLAN, size=6), 0)
    assert len({row.numpy().tobytes() for row in batch.image}) == 6


def test_objects_are_crops_of_larger_ones_where_pictures_are_enlarged(pool: SamplePool) -> None:
    small, large = (
        make_batch(pool, replace(PLAN, size=20, scale=(zoom, zoom)), 0).masks.mean() for zoom in (0.75, 2.5)
    )
    assert 1.5 * float(small) < float(large)


@pytest.mark.parametrize(
    ("prompts", "points", "expected"),
    [
        ("box", (1, 3), {(2, 3, -1, -1)}),
        ("points", (3, 3), {(1, 1, 1, -1)}),
        ("both", (1, 1), {(2, 3, -1, -1), (1, -1, -1, -1)}),
    ],
)
def test_a_plan_says_which_prompts_are_drawn(
    pool: SamplePool, prompts: PromptKind, points: tuple[int, int], expected: set[tuple[int, ...]]
) -> None:
    plan = replace(PLAN, size=8, objects_per_image=4, prompts=prompts, points=points)
    assert {tuple(labels) for labels in make_batch(pool, plan, 0).point_labels.tolist()} == expected


@pytest.mark.parametrize("points", [(0, 3), (2, 1), (1, 4)])
def test_a_plan_refuses_numbers_of_points_that_do_not_fit(points: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="points: expected a range within 1 to 3, found"):
        replace(PLAN, points=points)


def test_pasting_adds_objects_whose_masks_hold(pool: SamplePool) -> None:
    plain, pasted = (make_batch(pool, replace(PLAN, size=12, paste_share=share), 0) for share in (0.0, 1.0))
    counts = [[len(row.unique()) for row in batch.labels] for batch in (plain, pasted)]
    assert sum(counts[1]) > sum(counts[0]) + 6
    for i, mask in enumerate(pasted.masks):
        assert len(pasted.labels[i // 2][mask.bool()].unique()) == 1, "no object lies under a pasted one"


class Pictures:
    """A data set of equal pictures, 200 px a side, of these objects."""

    def __init__(self, name: str, weight: float, count: int, masks: list[np.ndarray]) -> None:
        self.name, self.weight, self.masks = name, weight, masks
        self.names = [f"{name}{i}" for i in range(count)]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.name, self.names[index], np.zeros((200, 200, 3), np.uint8), self.masks)


def test_sets_are_drawn_by_their_weights_whatever_their_sizes() -> None:
    sets: list[Dataset] = [Pictures("a", 0.75, 1, []), Pictures("b", 0.25, 7, [])]
    rng = np.random.default_rng(0)
    drawn = [SamplePool(sets).draw(rng).name for _ in range(2000)]
    assert 0.70 < drawn.count("a0") / 2000 < 0.80
    assert min(drawn.count(f"b{i}") for i in range(7)) > 30


def test_sets_are_identified_by_names_and_weights() -> None:
    pools = [
        [Pictures("a", 0.5, 3, [])],
        [Pictures("a", 0.5, 4, [])],
        [Pictures("a", 0.25, 3, [])],
        [Pictures("b", 0.5, 3, [])],
        [Pictures("a", 0.5, 3, []), Pictures("b", 0.5, 3, [])],
    ]
    first, *others = [SamplePool(sets).fingerprint() for sets in pools]
    assert len({first, *others}) == len(pools)
    assert SamplePool([Pictures("a", 0.5, 3, [np.ones((200, 200), bool)])]).fingerprint() == first


@pytest.mark.parametrize("steps", [range(2, 6), range(3, 4), range(5, 5)])
def test_prefetching_yields_the_same_batches_in_order(pool: SamplePool, steps: range) -> None:
    fetched = list(batches(pool, PLAN)(steps))
    assert len(fetched) == len(steps)
    assert all(same(make_batch(pool, PLAN, s), batch) for s, batch in zip(steps, fetched, strict=True))


def test_an_error_while_drawing_reaches_the_training_loop() -> None:
    with pytest.raises(ValueError):
        next(batches(SamplePool([]), PLAN)(range(2)))


def test_data_without_a_single_object_is_an_error_instead_of_an_endless_search() -> None:
    pool = SamplePool([Pictures("empty", 1.0, 3, [])])
    with pytest.raises(ValueError, match="no object of 400 px in 1000 pictures; check their masks"):
        make_batch(pool, replace(PLAN, size=1), 0)


def test_no_workers_are_left_behind(pool: SamplePool) -> None:
    """A loop that stops early must not leave threads drawing the rest."""
    before = threading.active_count()
    drawing = batches(pool, PLAN, workers=3)(range(50))
    next(drawing)
    assert threading.active_count() == before + 3
    drawing.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_the_same_batches_come_from_several_workers_and_for_some_rows(pool: SamplePool) -> None:
    rows = range(1, 3)
    fetched = batches(pool, PLAN, rows, workers=3)(range(4))
    assert all(same(make_batch(pool, PLAN, s, rows), batch) for s, batch in enumerate(fetched))
