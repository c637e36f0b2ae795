"""PNG files hold the picture's own pixels, whoever reads them, and pictures become arrays without a seam."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from glesam_runtime import read_image
from glesam_runtime.image_io import pixels_of, png_bytes

SIZES = [(1, 1), (1, 700), (63, 5), (64, 1), (65, 31), (200, 300)]


def picture_of(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_three_readers_find_the_pixels_of_an_rgb_picture(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = picture_of(size)
    (tmp_path / "a.png").write_bytes(content := png_bytes(Image.fromarray(pixels)))
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        opened.load()
        np.testing.assert_array_equal(np.asarray(opened), pixels)
    theirs = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(theirs[..., ::-1], pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    with Image.open(io.BytesIO(content)) as opened:
        opened.verify()  # the sums of all chunks


@pytest.mark.parametrize("mode", ["1", "L", "RGBA"])
def test_other_modes_keep_their_mode_and_pixels(mode: str) -> None:
    picture = Image.fromarray(picture_of((65, 31))).convert(mode)
    with Image.open(io.BytesIO(png_bytes(picture))) as opened:
        assert opened.mode == mode
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(picture))


def test_a_smooth_picture_is_packed() -> None:
    y, x = np.mgrid[:300, :400]
    smooth = np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8)
    assert len(png_bytes(Image.fromarray(smooth))) < smooth.size / 3


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_a_copy_of_the_pictures(size: tuple[int, int]) -> None:
    picture = Image.fromarray(picture_of(size))
    pixels = pixels_of(picture)
    np.testing.assert_array_equal(pixels, np.asarray(picture))
    assert pixels.flags.writeable and pixels.flags.c_contiguous
