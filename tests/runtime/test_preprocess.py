"""Preprocessing equals SAM's and the authors' steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundle import IMAGE_SIZE
from torch.nn.functional import interpolate

from glesam_runtime.preprocess import Pixels, longest_side, preprocess, squash

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (64, 64), (17, 31), (1, 1), (480, 641)])
def test_longest_side_equals_sams_own_steps(sam: Sam, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    tensor, geometry = preprocess(image, IMAGE_SIZE, MEAN, STD)

    # ResizeLongestSide: PIL's bilinear resize to the size of get_preprocess_shape. SAM's PIL took rows first.
    scale = IMAGE_SIZE / max(size)
    height, width = (int(side * scale + 0.5) for side in size)
    rows = Image.fromarray(image).resize((width, size[0]), Image.Resampling.BILINEAR)
    resized = np.array(rows.resize((width, height), Image.Resampling.BILINEAR))
    expected = sam.preprocess(torch.from_numpy(resized).permute(2, 0, 1)[None].float())

    assert geometry.resized_size == (height, width)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor, expected.numpy(), atol=1e-5)


def test_squash_is_bicubic_to_512_then_bilinear_without_padding(image: Pixels) -> None:
    tensor, geometry = preprocess(image, IMAGE_SIZE, MEAN, STD, "squash-512")
    small = Image.fromarray(image).resize((512, 512), Image.Resampling.BICUBIC)
    small = small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    expected = ((np.array(small) - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]
    assert geometry.resized_size == (IMAGE_SIZE, IMAGE_SIZE)
    np.testing.assert_allclose(tensor, expected, atol=1e-5)


def test_points_are_scaled_by_the_rounded_size_as_sam_does() -> None:
    geometry = longest_side((333, 1000), 512)
    point = geometry.to_input(np.array([[999, 332]], np.float64))
    np.testing.assert_allclose(point, [[999 * 512 / 1000, 332 * 170 / 333]], rtol=1e-6)


def test_points_are_squashed_on_each_axis_apart() -> None:
    point = squash((100, 200), 512).to_input(np.array([[200, 100]], np.float64))
    np.testing.assert_array_equal(point, [[512, 512]])


def test_a_panorama_keeps_at_least_one_row() -> None:
    assert longest_side((20000, 100), 64).resized_size == (64, 1)
    tensor, _ = preprocess(np.full((20000, 100, 3), 255, np.uint8), 64, MEAN, STD)
    assert (tensor[0, :, :, 0] > 0).all()
    assert (tensor[0, :, :, 1:] == 0).all()


@pytest.mark.parametrize(
    "size", [(96, 128), (128, 96), (64, 64), (17, 31), (1, 1), (1, 300), (480, 641), (63, 65)]
)
def test_squash_equals_sam_2s_own_transform(size: tuple[int, int]) -> None:
    """ToTensor, torchvision's Resize of a tensor (antialiased), Normalize."""
    image = np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
    tensor, geometry = preprocess(image, IMAGE_SIZE, MEAN, STD, "squash")
    expected = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = interpolate(expected, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert geometry == squash(size, IMAGE_SIZE)
    assert (tensor.shape, tensor.dtype) == ((1, 3, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    np.testing.assert_allclose(tensor, (expected - mean) / std, atol=3e-6)


@pytest.mark.parametrize("size", [(64, 64), (1, 7), (7, 1), (1000, 65)])
def test_a_flat_picture_stays_flat_when_it_is_antialiased(size: tuple[int, int]) -> None:
    flat, _ = preprocess(np.full((*size, 3), 200, np.uint8), IMAGE_SIZE, (0, 0, 0), (1, 1, 1), "squash")
    np.testing.assert_allclose(flat, 200, rtol=1e-6)


def test_a_picture_of_the_right_size_is_squashed_to_itself() -> None:
    image = np.random.default_rng(3).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    squashed, _ = preprocess(image, IMAGE_SIZE, (0, 0, 0), (1, 1, 1), "squash")
    np.testing.assert_array_equal(squashed[0], image.transpose(2, 0, 1))
