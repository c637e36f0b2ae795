"""Boxes and points as a mask prompt, for the model that is trained to need it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glesam.config import tiny
from glesam.drawn_prompts import SURE_LOGIT, draw_prompts
from glesam.model import GleSam

PADDING = (0.0, 0.0, -1)


def drawn(*points: tuple[float, float, int]) -> Tensor:
    """The logits of one prompt in a 64 x 64 picture, [16, 16]."""
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


def test_a_foreground_point_is_a_spot_at_its_place() -> None:
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


def test_only_a_model_that_draws_sees_the_drawing_and_a_mask_given_comes_first() -> None:
    torch.manual_seed(0)
    plain = GleSam(tiny()).eval()
    drawing = GleSam(replace(plain.config, sam=replace(plain.config.sam, draw_prompts=True))).eval()
    drawing.load_state_dict(plain.state_dict())
    z, mask = torch.randn(1, 256, 4, 4), torch.randn(1, 1, 16, 16)
    prompt = torch.tensor([[[8.0, 12.0], [30.0, 40.0]]]), torch.tensor([[2, 3]])
    with torch.no_grad():
        for model in (plain, drawing):
            ignored = [model.decode(z, *prompt, m, torch.zeros(1))[0] for m in (mask, 0 * mask)]
            assert torch.equal(*ignored)
        assert not torch.allclose(ignored[0], plain.decode(z, *prompt, mask, torch.zeros(1))[0])
        given = [model.decode(z, *prompt, mask, torch.ones(1))[0] for model in (plain, drawing)]
        torch.testing.assert_close(*given)
        by_hand = plain.decode(z, *prompt, draw_prompts(*prompt, 16, 16), torch.ones(1))[0]
        torch.testing.assert_close(ignored[0], by_hand)
