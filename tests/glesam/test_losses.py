"""The losses, against their formulas written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from glesam.losses import cross_entropy_loss, dice_loss, focal_loss, mask_iou
from glesam.training.mask_loss import MaskLoss, aligned, mask_losses, near

TARGET = torch.tensor([[1.0, 1.0], [0.0, 0.0]])


def test_dice_is_twice_the_overlap_over_the_sizes() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(1 / 3)]])  # .75 .5 .5 .25
    expected = 1 - 2 * (0.75 + 0.5) / (2 + 2)
    assert float(dice_loss(logits, TARGET)) == pytest.approx(expected, abs=1e-5)
    assert float(dice_loss(100 * (2 * TARGET - 1), TARGET)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(torch.full((2, 2), -100.0), 0 * TARGET)) == pytest.approx(0, abs=1e-6)


def test_focal_is_the_papers_formula_pixel_by_pixel() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(1 / 3)]])  # .75 .5 .5 .25
    object_pixels = [0.25 * (1 - p) ** 2 * -math.log(p) for p in (0.75, 0.5)]
    others = [0.75 * p**2 * -math.log(1 - p) for p in (0.5, 0.25)]
    assert float(focal_loss(logits, TARGET)) == pytest.approx(sum(object_pixels + others) / 4, rel=1e-5)
    far = focal_loss(torch.full((2, 2), -200.0), TARGET)
    assert float(far) == pytest.approx(0.25 * 200 / 2, rel=1e-5)


def test_a_share_weighs_the_masks_and_an_untrained_iou_head_nothing() -> None:
    logits, target = torch.randn(3, 4, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float().expand(-1, 4, -1, -1)
    per_mask = focal_loss(logits, target) + dice_loss(logits, target)
    expected = 0.75 * per_mask[:, 0].mean() + 0.25 * per_mask[:, 1:].min(1).values.mean()
    loss = MaskLoss("focal", single=0.75, multimask=0.25, iou=0.0)
    torch.testing.assert_close(mask_losses(logits, torch.full((3, 4), 9.0), target, loss)["loss"], expected)


def test_near_is_the_masks_box_and_a_tenth_of_its_side_around_it() -> None:
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, 0, 20:41, 30] = 0.7  # both ends of a box 20 px high, 0 px wide: 2 px around it
    masks[0, 0, 25, 25] = 0.5  # not on
    masks[1, 0, 1, 0] = masks[1, 0, 62, 50] = 1  # two specks 61 px and 50 px apart: 6.1 and 5 px
    expected = torch.zeros(2, 1, 64, 64)
    expected[0, 0, 18:43, 28:33] = 1
    expected[1, 0, :, :56] = 1
    assert torch.equal(near(masks), expected)


def test_near_grows_by_its_margin_and_an_empty_mask_has_nothing_near() -> None:
    masks = torch.zeros(2, 64, 64)
    masks[0, 10:31, 20:61] = 1
    actual = near(masks, margin=0.25, least=0)
    expected = torch.zeros(64, 64)
    expected[5:36, 10:64] = 1
    assert torch.equal(actual[0], expected)
    assert not actual[1].any()


def test_a_pixel_loss_is_the_mean_that_its_weights_ask_for() -> None:
    logits, target = torch.randn(3, 4, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float().expand(-1, 4, -1, -1)
    weights = torch.full((3, 1, 8, 8), 0.1)
    weights[..., :4] = 1
    for loss in (focal_loss, cross_entropy_loss):
        near_by, far = (loss(logits[..., part], target[..., part]) for part in (slice(4), slice(4, None)))
        torch.testing.assert_close(loss(logits, target, weights), (near_by + 0.1 * far) / 1.1)
        even = torch.full((3, 1, 8, 8), 0.3)
        torch.testing.assert_close(loss(logits, target, even), loss(logits, target))


def test_far_pixels_weigh_what_they_should_and_at_1_as_much_as_all() -> None:
    target = torch.zeros(1, 4, 32, 32)
    target[..., 10:13, 10:13] = 1
    logits, iou = torch.randn(1, 4, 32, 32), torch.zeros(1, 4)
    mask_0 = MaskLoss(multimask=0, iou=0)
    plain = (cross_entropy_loss(logits, target) + dice_loss(logits, target))[0, 0]
    torch.testing.assert_close(mask_losses(logits, iou, target, mask_0)["loss"], plain)
    almost = mask_losses(logits, iou, target, replace(mask_0, far=1 - 1e-6))["loss"]
    torch.testing.assert_close(almost, plain)
    box = ..., slice(8, 15), slice(8, 15)
    alone = cross_entropy_loss(logits[box], target[box]) + dice_loss(logits, target)
    torch.testing.assert_close(mask_losses(logits, iou, target, replace(mask_0, far=0))["loss"], alone[0, 0])


def test_logits_meet_masks_at_the_required_size() -> None:
    low_res, masks = torch.randn(2, 4, 16, 16).bfloat16(), (torch.rand(2, 1, 64, 64) > 0.5).float()
    for size, expected in ((None, 16), (32, 32), (64, 64)):
        logits, target = aligned(low_res, masks, size)
        assert logits.shape == (2, 4, expected, expected)
        assert target.shape == (2, 1, expected, expected)
        assert logits.dtype == torch.float32
        assert float(target.mean()) == pytest.approx(float(masks.mean()), abs=1e-5)
    assert aligned(low_res, masks, 64)[1] is masks


def test_iou_is_measured_at_logit_zero_and_two_empty_masks_give_no_nan() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.1, 0.0]])
    assert float(mask_iou(logits, TARGET)) == pytest.approx(1 / 3)
    assert float(mask_iou(-torch.ones(2, 2), 0 * TARGET)) == 0


def test_losses_are_one_per_mask() -> None:
    logits, target = torch.randn(3, 4, 8, 8), (torch.rand(3, 4, 8, 8) > 0.5).float()
    for loss in (dice_loss, mask_iou, focal_loss, cross_entropy_loss):
        together = loss(logits, target)
        assert together.shape == (3, 4)
        torch.testing.assert_close(together[1, 2], loss(logits[1, 2], target[1, 2]))


def test_the_best_of_three_candidates_counts_and_the_others_are_left_alone() -> None:
    target = torch.zeros(1, 4, 8, 8)
    target[..., :4] = 1
    logits = torch.randn(1, 4, 8, 8)
    logits[:, 2] = 3 * (2 * target[:, 2] - 1)
    logits.requires_grad_()
    losses = mask_losses(logits, torch.zeros(1, 4), target)
    losses["loss"].backward()
    assert logits.grad is not None
    touched = logits.grad.abs().amax((0, 2, 3)) > 0
    assert touched.tolist() == [True, False, True, False]
    assert float(losses["best_of_three"]) == 1


def test_the_predicted_iou_is_trained_towards_the_true_one() -> None:
    target = torch.zeros(1, 4, 8, 8)
    target[..., :4] = 1
    logits = 50 * (2 * target - 1)
    logits[:, 0] = 50.0  # everything: IoU one half
    right = mask_losses(logits, torch.tensor([[0.5, 1, 1, 1]]), target)["loss"]
    wrong = mask_losses(logits, torch.tensor([[1.0, 1, 1, 1]]), target)["loss"]
    assert float(wrong - right) == pytest.approx(0.25 / 4)
