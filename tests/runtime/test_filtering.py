"""Cheap filtering gives the picture that plain filtering gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from glesam_runtime.degradation.filtering import filtered, separated, trimmed
from glesam_runtime.degradation.kernels import gaussian_like_kernel, random_blur_kernel, random_sinc_kernel


@pytest.mark.parametrize("channels", [1, 3])
def test_any_kernel_gives_what_opencvs_own_filter_gives(channels: int) -> None:
    rng = np.random.default_rng(0)
    picture = rng.random((40, 50, channels), np.float32)
    kernels = [random_blur_kernel(rng, (0.2, 3.0)) for _ in range(60)] + [random_sinc_kernel(rng, 21)]
    assert 10 < sum(separated(trimmed(kernel)) is not None for kernel in kernels) < 50
    for kernel in kernels:
        expected = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT).reshape(picture.shape)
        np.testing.assert_allclose(filtered(picture, kernel), expected, atol=5e-6)


def test_a_narrow_gaussian_in_a_large_kernel_loses_its_empty_rings() -> None:
    kernel = gaussian_like_kernel(21, 0.5, 0.5, 0.0, 1.0, plateau=False)
    small = trimmed(kernel)
    assert small.shape == (5, 5) or small.shape == (7, 7)
    assert small.sum() == pytest.approx(1, abs=1e-6)
    wide = gaussian_like_kernel(21, 3.0, 3.0, 0.0, 1.0, plateau=False)
    assert trimmed(wide).shape == (21, 21)
    assert trimmed(np.ones((1, 1), np.float32)).shape == (1, 1)


def test_straight_gaussians_are_separated_and_slanted_ones_are_not() -> None:
    straight = gaussian_like_kernel(13, 1.0, 2.5, 0.0, 1.0, plateau=False)
    factors = separated(straight)
    assert factors is not None
    np.testing.assert_allclose(np.outer(*factors), straight, atol=1e-7)
    assert separated(gaussian_like_kernel(13, 1.0, 2.5, 0.6, 1.0, plateau=False)) is None
    assert separated(gaussian_like_kernel(13, 2.0, 2.0, 0.0, 2.0, plateau=True)) is None
