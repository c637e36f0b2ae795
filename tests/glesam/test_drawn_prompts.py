"""Boxes and points as a mask prompt, and where the object may lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glesam.nano.drawn_prompts import SURE_LOGIT, box_mask, draw_prompts

PADDING = (0.0, 0.0, -1)


def drawn(*points: tuple[float, float, int]) -> Tensor:
    """The logits of one prompt in a 64 x 64 image, [16, 16]."""
    table = torch.tensor([points])
    return draw_prompts(table[..., :2], table[..., 2].int(), 16, 16)[0, 0]


def test_a_box_is_sure_inside_and_outside_and_split_at_its_borders() -> None:
    logits = drawn((8, 12, 2), (30, 40, 3))
    assert (logits[3:10, 2:7] == SURE_LOGIT).all()
    assert (logits[3:10, 7] == 0).all()  # x = 28 to 32 is half covered
    assert (logits[:3] == -SURE_LOGIT).all()
    assert (logits[10:] == -SURE_LOGIT).all()
    assert (logits[:, :2] == -SURE_LOGIT).all()
    assert (logits[:, 8:] == -SURE_LOGIT).all()


def test_a_foreground_point_is_a_bump_at_its_place() -> None:
    logits = drawn((42, 10, 1), PADDING)
    row, column = divmod(int(logits.argmax()), 16)
    assert (row, column) == (2, 10)
    assert logits[2, 10] > 0.99 * SURE_LOGIT
    assert logits[15, 0] < -0.99 * SURE_LOGIT


def test_a_background_point_lowers_what_lies_under_it() -> None:
    box = ((0.0, 0.0, 2), (64.0, 64.0, 3))
    plain, pierced = drawn(*box), drawn(*box, (10.0, 10.0, 0))
    assert pierced[2, 2] < 0 < plain[2, 2]
    assert pierced[15, 15] == pytest.approx(float(plain[15, 15]), abs=1e-3)


def test_padding_points_draw_nothing() -> None:
    assert (drawn(PADDING, PADDING) == -SURE_LOGIT).all()
    assert torch.equal(drawn((42, 10, 1), PADDING, PADDING), drawn((42, 10, 1), PADDING))


def box(*points: tuple[float, float, int]) -> Tensor:
    """The box mask of one prompt in a 64 x 64 image, [16, 16]."""
    table = torch.tensor([points])
    return box_mask(table[..., :2], table[..., 2].int(), 16, 16)[0, 0]


def test_the_mask_of_a_box_is_the_box_whatever_points_are_with_it() -> None:
    corners = ((8.0, 12.0, 2), (30.0, 40.0, 3))
    expected = torch.zeros(16, 16)
    expected[3:10, 2:7] = 1
    expected[3:10, 7] = 0.5
    assert torch.equal(box(*corners), expected)
    assert torch.equal(box((50, 50, 1), (10, 20, 0), *corners, PADDING), expected)


def test_points_alone_mask_nothing() -> None:
    assert (box((42, 10, 1), (3, 3, 0), PADDING) == 1).all()


def test_a_box_without_an_inside_leaves_no_place() -> None:
    assert (box((20, 20, 2), (20, 20, 3)) == 0).all()


def test_every_prompt_of_a_batch_has_its_own_drawing_and_box_mask() -> None:
    prompts = [((8.0, 12.0, 2), (30.0, 40.0, 3)), ((42.0, 10.0, 1), PADDING)]
    table = torch.tensor(prompts)
    coords, labels = table[..., :2], table[..., 2].int()
    assert torch.equal(draw_prompts(coords, labels, 16, 16)[:, 0], torch.stack([drawn(*p) for p in prompts]))
    assert torch.equal(box_mask(coords, labels, 16, 16)[:, 0], torch.stack([box(*p) for p in prompts]))
