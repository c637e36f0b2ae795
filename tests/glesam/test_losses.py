"""The losses, against their formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

from glesam.losses import dice_loss, mask_iou
from glesam.training.mask_loss import mask_losses
from glesam.training.sam_stage import coherence_loss

TARGET = torch.tensor([[1.0, 1.0], [0.0, 0.0]])


def test_dice_is_twice_the_overlap_over_the_sizes() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(1 / 3)]])  # .75 .5 .5 .25
    expected = 1 - 2 * (0.75 + 0.5) / (2 + 2)
    assert float(dice_loss(logits, TARGET)) == pytest.approx(expected, abs=1e-5)
    assert float(dice_loss(100 * (2 * TARGET - 1), TARGET)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(torch.full((2, 2), -100.0), 0 * TARGET)) == pytest.approx(0, abs=1e-6)


def test_iou_is_measured_at_logit_zero_and_two_empty_masks_give_no_nan() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.1, 0.0]])
    assert float(mask_iou(logits, TARGET)) == pytest.approx(1 / 3)
    assert float(mask_iou(-torch.ones(2, 2), 0 * TARGET)) == 0


def test_losses_are_one_per_mask() -> None:
    logits, target = torch.randn(3, 4, 8, 8), (torch.rand(3, 4, 8, 8) > 0.5).float()
    for loss in (dice_loss, mask_iou):
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


def test_coherence_rewards_embeddings_that_agree_with_the_labels() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, :, 32:] = 7
    codes = torch.randn(2, 256)
    codes = codes / codes.norm(dim=1, keepdim=True) * 16
    fitting = codes[(labels[:, 8::16, 8::16] > 0).long()].permute(0, 3, 1, 2)
    crossed = fitting.transpose(2, 3)
    assert float(coherence_loss(fitting, labels)) < 0.1
    assert float(coherence_loss(crossed, labels)) > 1
