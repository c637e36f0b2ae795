"""Pasted objects: the picture shows what the masks say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from glesam.data.augmentation import View
from glesam.data.compositing import (
    LARGEST_SHARE,
    MAX_ENLARGEMENT,
    cut,
    paste_object,
    random_object,
    random_place,
)
from glesam.data.masks import MaskLayers
from glesam.data.sample import Sample

SHAPE = (160, 200)


def disc(x: int, y: int, radius: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    actual: NDArray[np.bool_] = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return actual


def black_view() -> View:
    """Two masks on black; no pixel's colour depends on them."""
    masks = MaskLayers.stacked([disc(50, 60, 40), disc(150, 100, 35)], SHAPE)
    return View(np.zeros((*SHAPE, 3), np.uint8), masks, 1.0)


def donor(*masks: NDArray[np.bool_]) -> Sample:
    """A green disc on red; neither colour can become black."""
    image = np.full((*SHAPE, 3), (255, 60, 60), np.uint8)
    image[disc(120, 80, 50)] = (60, 255, 60)
    return Sample("set", "donor", image, masks or (disc(120, 80, 50),))


def pasted(seed: int) -> View:
    return paste_object(black_view(), donor(), 20, np.random.default_rng(seed))


def deeper_than(distance_px: float, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    depth = np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    return depth > distance_px


def test_the_new_mask_is_exactly_what_is_seen() -> None:
    """All but the softened edge is the object inside the mask and black outside."""
    seen = 0
    for seed in range(30):
        view = pasted(seed)
        if len(view.masks) == 2:
            continue
        seen += 1
        mask = np.asarray(view.masks[2])
        inside, outside = deeper_than(4, mask), deeper_than(4, ~mask)
        assert (view.image[outside] == 0).all()
        green = view.image[inside].astype(int)
        assert (green[:, 1] > 90).all()
        assert (green[:, 1] > green[:, 0] + 40).all(), "nothing of the donor's red background came along"
    assert seen > 20


def test_covered_pixels_leave_the_masks_beneath() -> None:
    covered = 0
    for seed in range(30):
        view, before = pasted(seed), black_view()
        if len(view.masks) == 2:
            continue
        new = view.masks[2]
        for old, mask in zip(before.masks, view.masks, strict=False):
            np.testing.assert_array_equal(mask, old & ~new)
            covered += int((old & new).sum())
    assert covered > 1000


def test_the_view_it_came_from_is_left_as_it_was() -> None:
    view = black_view()
    paste_object(view, donor(), 20, np.random.default_rng(0))
    assert not view.image.any()
    assert all(map(np.array_equal, view.masks, black_view().masks))


def test_sizes_places_and_angles_vary() -> None:
    masks = [view.masks[2] for view in map(pasted, range(60)) if len(view.masks) == 3]
    areas = [int(mask.sum()) for mask in masks]
    assert max(areas) > 4 * min(areas)
    centres = np.array([np.argwhere(mask).mean(0) for mask in masks])
    assert (centres.std(0) > 25).all()


def test_a_background_is_not_an_object() -> None:
    nearly_all = np.ones(SHAPE, bool)
    nearly_all[:, : SHAPE[1] // 3] = False
    assert nearly_all.mean() > LARGEST_SHARE
    rng = np.random.default_rng(0)
    assert random_object(donor(nearly_all), rng) is None
    small = disc(20, 20, 10)
    assert all(np.array_equal(random_object(donor(nearly_all, small), rng), small) for _ in range(10))
    view = black_view()
    assert paste_object(view, donor(nearly_all), 20, rng) is view


def test_an_object_of_which_too_little_is_visible_is_not_pasted() -> None:
    view = black_view()
    assert paste_object(view, donor(), SHAPE[0] * SHAPE[1], np.random.default_rng(0)) is view


def test_a_small_object_is_enlarged_twice_at_most() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        window = random_place(np.zeros((10, 12, 3), np.uint8), (512, 512), rng)
        assert abs(np.linalg.det(window.linear)) <= MAX_ENLARGEMENT**2 + 1e-9


def test_an_object_at_its_pictures_edge_is_cut_there() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:40, 150:] = True
    colours, opacity = cut(donor().image, mask)
    assert colours.shape[:2] == opacity.shape == (44, 54)
    assert set(np.unique(opacity)) == {0, 255}
    assert int((opacity == 255).sum()) == int(mask.sum())
    assert not (opacity[0].any() or opacity[-1].any() or opacity[:, 0].any() or opacity[:, -1].any())


@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_gives_one_picture(seed: int) -> None:
    one, same, other = pasted(seed), pasted(seed), pasted(seed + 2)
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
