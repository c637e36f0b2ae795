"""Prompts drawn from masks, in SAM's points and labels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from glesam.data.label_maps import mask_box
from glesam.data.prompts import MAX_JITTER, PromptKind, box_prompt, point_prompt, random_prompt


def random_mask(rng: np.random.Generator) -> NDArray[np.bool_]:
    mask = np.zeros((48, 64), bool)
    y, x = rng.integers(0, 40), rng.integers(0, 56)
    mask[y : y + int(rng.integers(1, 30)), x : x + int(rng.integers(1, 40))] = True
    return mask


def test_points_lie_on_the_mask_and_end_in_the_padding_point() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 3) * 20:
        mask = random_mask(rng)
        prompt = point_prompt(mask, rng, count)
        x, y = prompt.coords[:count].astype(int).T
        assert mask[y, x].all()
        assert prompt.labels.tolist() == [1] * count + [-1]
        assert prompt.coords[count].tolist() == [0, 0]


def test_every_pixel_of_a_mask_may_become_a_point() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:4] = True
    drawn = point_prompt(mask, np.random.default_rng(0), 200).coords[:-1]
    assert {(int(x), int(y)) for x, y in drawn} == {(x, y) for y in (1, 2) for x in (1, 2, 3)}


def test_a_box_without_chance_is_the_masks_own() -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 5:40] = True
    prompt = box_prompt(mask)
    assert prompt.coords.tolist() == [[5, 10], [40, 20]]
    assert prompt.labels.tolist() == [2, 3]


def test_a_jittered_box_moves_stays_in_the_picture_and_is_never_empty() -> None:
    rng = np.random.default_rng(0)
    moves = []
    for _ in range(500):
        mask = random_mask(rng)
        x0, y0, x1, y1 = mask_box(mask)
        coords = box_prompt(mask, rng).coords
        assert (coords >= 0).all()
        assert (coords <= [64, 48]).all()
        assert (coords[1] > coords[0]).all()
        moves.append((coords - [[x0, y0], [x1, y1]]) / [x1 - x0, y1 - y0])
    assert 0.05 < np.std(moves) < 0.15


def test_a_large_boxs_jitter_is_at_most_20_px() -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[500:1500, 500:1500] = True
    rng = np.random.default_rng(0)
    moves = np.array([box_prompt(mask, rng).coords - [[500, 500], [1500, 1500]] for _ in range(50)])
    assert np.abs(moves).max() == 20


def test_random_prompts_are_boxes_and_points_that_fit_the_batchs_four_tokens() -> None:
    rng = np.random.default_rng(0)
    kinds = {tuple(random_prompt(random_mask(rng), rng).padded(4).labels.tolist()) for _ in range(100)}
    assert kinds == {(2, 3, -1, -1), (1, -1, -1, -1), (1, 1, -1, -1), (1, 1, 1, -1)}


def test_training_draws_half_of_its_boxes_exact_and_jitters_the_others_by_up_to_a_tenth() -> None:
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    rng = np.random.default_rng(0)
    moves = [random_prompt(mask, rng, "box").coords - [[60, 60], [140, 140]] for _ in range(1000)]
    spread = [float(np.sqrt(np.mean(move**2))) / 80 for move in moves if move.any()]
    assert len(spread) == pytest.approx(500, abs=50)
    assert min(spread) < 0.01 * MAX_JITTER
    assert np.mean(spread) == pytest.approx(0.94 * MAX_JITTER / 2, rel=0.05), (
        ".94: the root of a mean of four"
    )


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("box", (1, 3), {(2, 3, -1, -1)}),
        ("points", (3, 3), {(1, 1, 1, -1)}),
        ("points", (1, 2), {(1, -1, -1, -1), (1, 1, -1, -1)}),
    ],
)
def test_one_kind_of_prompt_alone_can_be_chosen(
    kind: PromptKind, points: tuple[int, int], expected: set[tuple[int, ...]]
) -> None:
    """The paper's stage 2 draws three points."""
    rng = np.random.default_rng(0)
    drawn = [random_prompt(random_mask(rng), rng, kind, points).padded(4) for _ in range(60)]
    assert {tuple(prompt.labels.tolist()) for prompt in drawn} == expected
