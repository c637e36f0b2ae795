"""Views keep a picture and its masks together: one that shows its own masks still does afterwards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from glesam.data.augmentation import (
    View,
    Window,
    jitter_colours,
    random_turn,
    random_view,
    random_window,
    warp_image,
    warp_masks,
)
from glesam.data.masks import MaskLayers

HEIGHT, WIDTH = 150, 200


def discs() -> MaskLayers:
    """Three discs of 25 to 45 px radius, none of which a mirror would map onto itself."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centres = (((60, 50), 45), ((150, 40), 25), ((140, 110), 33))
    return MaskLayers.stacked(
        [(columns - x) ** 2 + (rows - y) ** 2 < radius**2 for (x, y), radius in centres], (HEIGHT, WIDTH)
    )


def picture_of(masks: MaskLayers) -> NDArray[np.uint8]:
    """A picture with one mask per channel, white on black."""
    return np.stack([np.asarray(mask, np.uint8) * np.uint8(255) for mask in masks], axis=2)


def disagreement(view: View) -> float:
    """The largest share of a mask's edge where its channel differs; below 1 is less than a pixel."""
    worst = 0.0
    for channel, mask in enumerate(view.masks):
        seen = view.image[..., channel] >= 128
        edge = int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
        if edge > 20:
            worst = max(worst, float((seen != mask).sum()) / edge)
    return worst


@pytest.mark.parametrize("zoom", [(0.4, 0.6), (0.75, 1.5), (1.5, 3.0)])
@pytest.mark.parametrize("affine_share", [0.0, 1.0])
def test_a_picture_of_its_own_masks_stays_one(zoom: tuple[float, float], affine_share: float) -> None:
    masks = discs()
    rng = np.random.default_rng(0)
    views = [random_view(picture_of(masks), masks, 160, zoom, affine_share, rng) for _ in range(25)]
    assert max(disagreement(view) for view in views) < 0.6


def test_masks_and_picture_are_not_shifted_against_each_other() -> None:
    """The mean over many views would show an offset of a tenth of a pixel, as half-pixel errors cause."""
    masks = discs()
    rng = np.random.default_rng(1)
    shifts = []
    for _ in range(60):
        view = random_view(picture_of(masks), masks, 160, (0.5, 1.4), 1.0, rng)
        for channel, mask in enumerate(view.masks):
            touches = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
            if mask.any() and not touches:
                weight = view.image[..., channel].astype(float)
                rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
                seen = [float((axis * weight).sum() / weight.sum()) for axis in (rows, columns)]
                shifts.append(np.array(seen) - [rows[mask].mean(), columns[mask].mean()])
    assert len(shifts) > 50
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.05
    assert np.abs(shifts).max() < 0.3


def test_areas_grow_with_the_square_of_the_scale() -> None:
    masks = discs()
    before = masks.areas()
    rng = np.random.default_rng(2)
    for _ in range(40):
        view = random_view(picture_of(masks), masks, 400, (0.3, 0.9), 1.0, rng)
        for old, mask in zip(before, view.masks, strict=True):
            if mask.any() and not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()):
                assert float(mask.sum()) / old == pytest.approx(view.scale**2, rel=0.06)


def test_a_view_is_at_most_the_required_size_and_keeps_the_pictures_shape_when_small() -> None:
    masks = discs()
    rng = np.random.default_rng(3)
    for zoom in ((0.5, 0.5), (1.0, 1.0), (2.0, 2.0)):
        view = random_view(picture_of(masks), masks, 100, zoom, 0.0, rng)
        size = tuple(min(100, round(side * zoom[0] / 2)) for side in (HEIGHT, WIDTH))
        assert view.image.shape[:2] == size
        assert all(mask.shape == size for mask in view.masks)
        assert view.scale == pytest.approx(zoom[0] / 2, rel=0.02)  # to cover sizes that were rounded


def test_a_view_never_looks_past_the_edge_of_its_picture() -> None:
    """Beyond it are smeared pixels, which no camera makes."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        picture = int(rng.integers(20, 400)), int(rng.integers(20, 400))
        turned = random_turn(rng, affine_share=1.0)
        window = random_window(picture, float(rng.uniform(0.1, 3)), turned, 128, rng)
        corners = (np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) - 0.5) * window.size
        seen = window.centre + corners @ np.linalg.inv(window.linear).T
        assert (seen >= -1e-9).all()
        assert (seen <= np.array(picture) + 1e-9).all()


def test_half_of_the_views_are_mirrored_and_affine_share_is_turned() -> None:
    rng = np.random.default_rng(5)
    turns = [random_turn(rng, affine_share=0.3) for _ in range(2000)]
    assert np.mean([np.linalg.det(turn) < 0 for turn in turns]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([turn[1, 0] != 0 for turn in turns]) == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose([abs(np.linalg.det(turn)) for turn in turns], 1)
    angles = [math.degrees(math.atan2(turn[1, 0], abs(turn[0, 0]))) for turn in turns]
    assert 10 < max(map(abs, angles)) < 20


def test_the_identity_changes_nothing() -> None:
    masks = discs()
    window = Window(np.eye(2), np.array([WIDTH / 2, HEIGHT / 2]), (WIDTH, HEIGHT))
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_array_equal(warp_image(image, window), image)
    assert all(map(np.array_equal, warp_masks(masks, window), masks))


def test_a_picture_that_shrinks_is_averaged() -> None:
    """Every other column white: picked pixels would give white or black, a camera sees grey."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, ::2] = 255
    window = Window(0.25 * np.eye(2), np.array([WIDTH / 2, HEIGHT / 2]), (50, 37))
    assert np.abs(warp_image(image, window).astype(float) - 127.5).max() < 2


def test_colours_change_and_nothing_moves() -> None:
    picture = np.full((40, 60, 3), (120, 90, 60), np.uint8)
    picture[10:20, 15:30] = (60, 140, 90)
    rng = np.random.default_rng(6)
    drawn = [jitter_colours(picture, rng) for _ in range(100)]
    for image in drawn:
        assert image.shape == picture.shape
        assert len(np.unique(image.reshape(-1, 3), axis=0)) == 2
        assert (image[10:20, 15:30] == image[10, 15]).all()
    shifts = np.array([image.reshape(-1, 3).mean(0) - picture.reshape(-1, 3).mean(0) for image in drawn])
    assert np.abs(shifts.mean(0)).max() < 8, "no colour cast on average"
    assert shifts.std(0).min() > 5


def test_one_seed_gives_one_view() -> None:
    masks = discs()
    one, same, other = (
        random_view(picture_of(masks), masks, 160, (0.75, 1.5), 0.5, np.random.default_rng(seed))
        for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(one.image, same.image)
    assert all(map(np.array_equal, one.masks, same.masks))
    assert one.image.shape != other.image.shape or (one.image != other.image).any()
