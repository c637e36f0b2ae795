"""Masks come back exactly as SAM resizes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tiny_bundle import IMAGE_SIZE

from glesam_runtime import postprocess
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import longest_side, squash

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

SIZES = [(96, 128), (128, 96), (64, 64), (17, 31), (1, 1), (480, 641)]


def random_logits(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32) * 10


def all_logits(resizer: MaskResizer, low_res: np.ndarray) -> np.ndarray:
    return np.concatenate([logits for _, logits in resizer.logits(low_res).blocks()])


@pytest.mark.parametrize("size", SIZES)
def test_logits_equal_sams_two_bilinear_steps(sam: Sam, size: tuple[int, int]) -> None:
    geometry = longest_side(size, IMAGE_SIZE)
    resizer = MaskResizer.for_geometry(geometry)
    low_res = random_logits(16, 16)
    expected = sam.postprocess_masks(torch.from_numpy(low_res)[None, None], geometry.resized_size, size)[0, 0]
    logits = all_logits(resizer, low_res)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_squashed_masks_go_straight_to_the_original_size(size: tuple[int, int]) -> None:
    resizer = MaskResizer.for_geometry(squash(size, IMAGE_SIZE))
    low_res = random_logits(16, 16)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(low_res)[None, None], size, mode="bilinear", align_corners=False
    )[0, 0]
    logits = all_logits(resizer, low_res)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_every_logit_is_a_sum_rounded_step_by_step(size: tuple[int, int]) -> None:
    """The C++ library computes this; a matrix product may round differently, in one pixel of 100 million."""
    resizer = MaskResizer.for_geometry(longest_side(size, IMAGE_SIZE))
    low_res = random_logits(16, 16)
    actual = all_logits(resizer, low_res)
    for y, x in {(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 3)}:
        row, column = resizer.rows.first[y], resizer.columns.first[x]
        stretched = [total(line[column : column + 3], resizer.columns.weights[x]) for line in low_res]
        assert actual[y, x] == total(stretched[row : row + 3], resizer.rows.weights[y])


def total(samples: Sequence[np.float32], weights: np.ndarray) -> np.float32:
    a, b, c = (sample * weight for sample, weight in zip(samples, weights, strict=True))
    return a + b + c


def test_masks_are_thresholded_block_by_block_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resizer = MaskResizer.for_geometry(longest_side((96, 128), IMAGE_SIZE))
    low_res = random_logits(2, 3, 16, 16)
    whole = resizer.masks(low_res, threshold=1.5)
    monkeypatch.setattr(postprocess, "_BLOCK_PIXELS", 1000)
    blocks = resizer.masks(low_res, threshold=1.5)
    assert whole.shape == (2, 3, 96, 128)
    assert whole.dtype == bool
    np.testing.assert_array_equal(whole, blocks)
    logits = all_logits(resizer, low_res[1, 2])
    np.testing.assert_array_equal(whole[1, 2], logits > 1.5)
