"""The hierarchy of regions, on pictures whose regions are known."""

from __future__ import annotations

import numpy as np
import pytest

from glesam.data.augmentation import Image
from glesam.data.hierarchy import LEAST_SIDE, Hierarchy, hierarchy_of, watershed_patches
from glesam.data.masks import Mask
from glesam.data.regions import INSIDE, WHOLE, lasting_regions


def scene() -> tuple[Image, dict[str, Mask]]:
    """A picture [96, 128, 3]: sky, and a meadow of coarse noise on which a striped box stands."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :128]
    meadow = y >= 40
    box = (y >= 50) & (y < 80) & (x >= 30) & (x < 70)
    noise = np.kron(rng.integers(0, 90, (48, 64)), np.ones((2, 2)))[..., None]
    image = np.where(meadow[..., None], noise * (0.4, 1.0, 0.3) + (20, 70, 10), (120, 170, 230))
    image = np.where(box[..., None], np.where(((x // 3) % 2)[..., None], (220, 30, 30), (150, 10, 10)), image)
    return image.astype(np.uint8), {"sky": ~meadow, "meadow": meadow & ~box, "box": box}


@pytest.fixture(scope="module")
def tree() -> Hierarchy:
    return hierarchy_of(scene()[0], np.random.default_rng(0))


def overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_patches_cover_the_picture_and_end_at_edges() -> None:
    image, regions = scene()
    patches = watershed_patches(image)
    assert patches.shape == image.shape[:2]
    assert sorted(np.unique(patches)) == list(range(patches.max() + 1))
    straddling = sum(
        min((patches[mask] == i).sum(), (patches[~mask] == i).sum())
        for i in range(patches.max() + 1)
        for mask in regions.values()
    )
    assert straddling < 0.06 * patches.size


def test_every_region_is_two_earlier_ones_and_the_last_is_the_picture(tree: Hierarchy) -> None:
    count = int(tree.patches.max()) + 1
    assert len(tree.members) == 2 * count - 1
    assert sorted(tree.members[-1]) == list(range(count))
    earlier = {tuple(sorted(members)) for members in tree.members}
    assert len(earlier) == len(tree.members), "no region twice"
    np.testing.assert_allclose(tree.shares(), [tree.mask(i).mean() for i in range(len(tree.members))])
    assert (tree.lasting[:count] == 0).all()
    assert tree.lasting[-1] == 0


def test_what_lasts_longest_are_the_scenes_parts_textured_or_not(tree: Hierarchy) -> None:
    _, regions = scene()
    shares = tree.shares()
    longest = sorted(np.flatnonzero(shares > 0.01), key=lambda i: -tree.lasting[i])[:6]
    for name, mask in regions.items():
        assert max(overlap(tree.mask(i), mask) for i in longest) > 0.8, name


def test_a_part_lies_in_an_object_and_the_whole_object_is_left_out() -> None:
    image, regions = scene()
    objects = np.where(regions["box"], 7, 0).astype(np.uint8)
    found = [r for seed in range(20) for r in lasting_regions(image, objects, np.random.default_rng(seed))]
    assert any(overlap(region.mask, regions["sky"]) > 0.9 for region in found)
    assert not any(overlap(region.mask, regions["box"]) > WHOLE for region in found)
    for region in found:
        inside = (region.mask & regions["box"]).sum() > INSIDE * region.mask.sum()
        assert region.is_part == inside


def test_a_hierarchy_is_a_function_of_the_picture_and_the_seed(tree: Hierarchy) -> None:
    again = hierarchy_of(scene()[0], np.random.default_rng(0))
    assert again.members == tree.members
    np.testing.assert_array_equal(again.lasting, tree.lasting)
    other = hierarchy_of(scene()[0], np.random.default_rng(1))
    assert other.members != tree.members


def test_an_even_picture_is_merged_and_nothing_in_it_lasts() -> None:
    grey = np.full((40, 56, 3), 90, np.uint8)
    tree = hierarchy_of(grey, np.random.default_rng(0))
    assert len(tree.members[-1]) == tree.patches.max() + 1
    assert not list(lasting_regions(grey, np.zeros((40, 56), np.uint8), np.random.default_rng(0)))


@pytest.mark.parametrize("shape", [(LEAST_SIDE, LEAST_SIDE), (LEAST_SIDE, 160), (160, LEAST_SIDE)])
def test_the_smallest_pictures_have_a_hierarchy(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    tree = hierarchy_of(image, np.random.default_rng(0))
    assert tree.mask(len(tree.members) - 1).all()
    objects = np.zeros(shape, np.uint8)
    assert all(r.mask.shape == shape for r in lasting_regions(image, objects, np.random.default_rng(0)))


def test_a_smaller_picture_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"a picture of \(7, 100\) px: expected 8 or more on each side"):
        hierarchy_of(np.zeros((7, 100, 3), np.uint8), np.random.default_rng(0))
