"""The pieces of automatic masks, each against a slow and obvious version of itself."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from glesam_runtime import AutomaticOptions, PromptError
from glesam_runtime.automatic.boxes import box_above, box_of, suppress, xywh, xyxy
from glesam_runtime.automatic.grid import Crop, crops_of, point_grid, prompts_per_call
from glesam_runtime.automatic.overlay import colour, draw_masks
from glesam_runtime.automatic.regions import without_small_regions
from glesam_runtime.automatic.rle import mask_from_rle, rle_from_mask, rle_from_window
from glesam_runtime.automatic.search import CropSearch, Stopwatch
from glesam_runtime.automatic.stability import low_res_stability, resize_and_rate
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import Geometry, longest_side, squash


def test_the_grids_points_lie_in_the_middle_of_their_squares() -> None:
    np.testing.assert_allclose(point_grid(2), [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)])
    np.testing.assert_allclose(point_grid(1), [(0.5, 0.5)])


@pytest.mark.parametrize("size", [(96, 128), (1, 1), (1, 500), (7, 3)])
def test_crops_cover_the_picture_and_are_never_empty(size: tuple[int, int]) -> None:
    for layer in (1, 2, 3):
        covered = np.zeros(size, bool)
        for crop in crops_of(size, 3, 512 / 1500):
            assert 0 <= crop.x0 < crop.x1 <= size[1]
            assert 0 <= crop.y0 < crop.y1 <= size[0]
            if crop.layer == layer:
                covered[crop.y0 : crop.y1, crop.x0 : crop.x1] = True
        assert covered.all()


def test_a_large_picture_has_four_crops_then_sixteen() -> None:
    layers = [crop.layer for crop in crops_of((480, 640), 2, 0.3)]
    assert [layers.count(layer) for layer in range(3)] == [1, 4, 16]


def slow_suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    def iou(a: np.ndarray, b: np.ndarray) -> float:
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        return width * height / (sum(areas) - width * height)

    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("seed", range(40))
def test_suppression_keeps_what_the_definition_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 60))
    start = rng.integers(0, 12, (count, 2))
    boxes = np.concatenate([start, start + rng.integers(1, 12, (count, 2))], axis=1).astype(np.float64)
    scores = rng.integers(0, 8, count) / 8  # with ties
    threshold = float(rng.choice([0, 0.3, 0.5, 0.7, 1]))
    assert suppress(boxes, scores, threshold) == slow_suppress(boxes, scores, threshold)


def test_a_box_is_the_one_that_coco_gives() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5, 7] = mask[11, 22] = True
    expected = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, np.uint8)))
    np.testing.assert_array_equal(xywh(box_of(mask)), expected)
    assert xyxy(xywh(box_of(mask))) == (7, 5, 23, 12)


def blobs(seed: int, side: int) -> np.ndarray:
    """Returns smooth logits like a decoder's."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return (40 * ndimage.gaussian_filter(noise, 2)).astype(np.float32) - np.float32(seed % 7)


@pytest.mark.parametrize("seed", range(21))
@pytest.mark.parametrize(
    "geometry", [longest_side((96, 128), 64), longest_side((1, 400), 64), squash((50, 30), 64)]
)
def test_a_window_changes_neither_mask_nor_stability(seed: int, geometry: Geometry) -> None:
    resizer, low_res_mask = MaskResizer.for_geometry(geometry), blobs(seed, 16)
    actual, stability = resize_and_rate(resizer.window(low_res_mask, -0.5), 0.5, 1.0)
    sure, mask, generous = (resizer.masks(low_res_mask, level) for level in (1.5, 0.5, -0.5))
    whole = np.zeros(geometry.original_size, bool)
    height, width = actual.pixels.shape
    whole[actual.top : actual.top + height, actual.left : actual.left + width] = actual.pixels
    np.testing.assert_array_equal(whole, mask)
    assert stability == (sure.sum() / generous.sum() if generous.any() else 0)


@pytest.mark.parametrize("seed", range(21))
@pytest.mark.parametrize(
    "geometry", [longest_side((96, 128), 64), longest_side((1, 400), 64), squash((500, 30), 64)]
)
def test_the_box_of_a_mask_is_found_without_all_of_it(seed: int, geometry: Geometry) -> None:
    resizer, low_res_mask = MaskResizer.for_geometry(geometry), blobs(seed, 16)
    (mask,) = resizer.masks(low_res_mask[None], 0.5)
    expected = box_of(mask) if mask.any() else None
    assert box_above(resizer.window(low_res_mask, 0.5), 0.5) == expected
    assert box_above(resizer.window(low_res_mask, -0.5), 0.5) == expected
    assert box_above(resizer.logits(low_res_mask), 0.5) == expected


def bump(place: int, rng: np.random.Generator) -> np.ndarray:
    """Returns logits of a disc in one of three places, as large as it happens to be."""
    y, x = np.ogrid[:16, :16]
    top, left = ((3, 3), (5, 11), (9, 6))[place]
    height: np.ndarray = rng.uniform(2, 9) - 0.5 * ((y - top) ** 2 + (x - left) ** 2)
    return height


@pytest.mark.parametrize("seed", range(10))
def test_masks_are_resized_late_and_are_the_same(seed: int) -> None:
    """The definition: resize all, drop the unstable, suppress the boxes of the rest."""
    rng = np.random.default_rng(seed)
    resizer = MaskResizer.for_geometry(longest_side((96, 128), 64))
    low_res_masks = [bump(i % 3, rng) + blobs(100 * seed + i, 16) / 3 for i in range(30)]
    scores = rng.integers(0, 12, 30) / 12  # with ties
    options = AutomaticOptions(stability_score_thresh=0.6)
    session: Any = SimpleNamespace(manifest=SimpleNamespace(mask_threshold=0.5), mask_resizer=resizer)
    search = CropSearch(session, Crop(0, 0, 128, 96, 0), (96, 128), options, Stopwatch())
    found = [
        search._candidate(mask.astype(np.float32), float(score), np.zeros(2))
        for mask, score in zip(low_res_masks, scores, strict=True)
    ]
    kept = search.distinct([one for one in found if one is not None])
    rated = [resize_and_rate(resizer.logits(m.astype(np.float32)), 0.5, 1.0) for m in low_res_masks]
    stable = [i for i, (mask, stability) in enumerate(rated) if stability >= 0.6 and mask.pixels.any()]
    boxes = np.array([box_of(rated[i][0].pixels) for i in stable], np.float64).reshape(-1, 4)
    chosen = [stable[i] for i in suppress(boxes, scores[stable], options.box_nms_thresh)]
    assert 1 < len(chosen) < len(stable) < 30
    assert [one.predicted_iou for one in kept] == scores[chosen].tolist()
    for one, index in zip(kept, chosen, strict=True):
        np.testing.assert_array_equal(one.mask(), rated[index][0].pixels)
        assert one.stability_score == rated[index][1]


@pytest.mark.parametrize("seed", range(20))
def test_stability_at_low_resolution_is_near_the_real_one(seed: int) -> None:
    low_res_masks = np.stack([blobs(seed, 128), blobs(seed + 99, 128)]) * 4
    actual = low_res_stability(low_res_masks[:, :96], 0.5, 1.0)
    resizer = MaskResizer.for_geometry(longest_side((384, 512), 512))
    expected = [resize_and_rate(resizer.logits(each), 0.5, 1.0)[1] for each in low_res_masks]
    np.testing.assert_allclose(actual, expected, atol=0.05)
    assert low_res_stability(np.full((1, 4, 4), -9, np.float32), 0, 1) == 0


def test_the_window_of_a_small_mask_is_small() -> None:
    low_res_mask = np.full((16, 16), -8, np.float32)
    low_res_mask[4:6, 8:10] = 8
    resizer = MaskResizer.for_geometry(longest_side((640, 640), 64))
    actual, _ = resize_and_rate(resizer.window(low_res_mask, -1), 0, 1)
    assert actual.pixels.any()
    assert actual.pixels.size < 640 * 640 / 10


def test_an_empty_mask_is_not_stable() -> None:
    resizer = MaskResizer.for_geometry(longest_side((96, 128), 64))
    actual, stability = resize_and_rate(resizer.window(np.full((16, 16), -9, np.float32), -1), 0, 1)
    assert actual.pixels.size == 0
    assert stability == 0


@pytest.mark.parametrize("seed", range(40))
def test_rle_of_a_window_is_that_of_the_whole_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    whole = np.zeros((height, width), bool)
    top, left = rng.integers(0, height), rng.integers(0, width)
    bottom, right = rng.integers(top, height, endpoint=True), rng.integers(left, width, endpoint=True)
    window = rng.random((bottom - top, right - left)) < rng.choice([0, 0.5, 0.9, 1])
    whole[top:bottom, left:right] = window
    rle = rle_from_window(window, int(top), int(left), whole.shape)
    theirs = coco_mask.encode(np.asfortranarray(whole, np.uint8))["counts"].decode()
    assert rle["counts"] == rle_from_mask(whole)["counts"] == theirs
    np.testing.assert_array_equal(mask_from_rle(rle), whole)


def slow_cleaning(mask: np.ndarray, min_area: int) -> np.ndarray:
    def regions(of: np.ndarray) -> list[np.ndarray]:
        labels, count = ndimage.label(of, np.ones((3, 3)))
        return [labels == label for label in range(1, count + 1)]

    cleaned = mask.copy()
    for hole in regions(~mask):
        cleaned |= hole if hole.sum() < min_area else False
    islands = sorted(regions(cleaned), key=lambda island: -island.sum())
    for index, island in enumerate(islands):
        if island.sum() < min_area and (index or islands[0].sum() >= min_area):
            cleaned &= ~island
    return cleaned


@pytest.mark.parametrize("seed", range(60))
def test_small_islands_and_holes_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 24, 2)) < rng.random()
    min_area = int(rng.integers(0, 30))
    actual = without_small_regions(mask, min_area)
    expected = slow_cleaning(mask, min_area)
    assert actual.sum() == expected.sum()  # of two largest islands of one size, either may stay
    if ndimage.label(expected, np.ones((3, 3)))[1] != 1:
        np.testing.assert_array_equal(actual, expected)


def test_a_call_of_the_decoder_takes_what_fits_into_the_memory() -> None:
    assert prompts_per_call(512, 512) == 40
    assert prompts_per_call(1024, 512) == 10
    assert prompts_per_call(1024, 1) == 1
    assert prompts_per_call(64, 4096) == 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_per_side", 0),
        ("points_per_side", 100_000),
        ("pred_iou_thresh", 1.5),
        ("pred_iou_thresh", float("nan")),
        ("stability_score_thresh", -0.1),
        ("stability_score_offset", -1),
        ("box_nms_thresh", 95),
        ("crop_n_layers", 9),
        ("min_mask_region_area", -4),
        ("memory_mib", 0),
        ("points_per_side", 2.5),
        ("memory_mib", float("inf")),
    ],
)
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(PromptError, match=rf"automatic masks: {name}: expected .*, found "):
        AutomaticOptions(**{name: value})


def test_a_models_defaults_are_sams_unless_others_were_measured() -> None:
    assert AutomaticOptions.for_model("vit_b") == AutomaticOptions()
    nano = AutomaticOptions.for_model("nano", points_per_side=8)
    assert nano.points_per_side == 8
    assert nano.stability_score_thresh < AutomaticOptions().stability_score_thresh
    assert AutomaticOptions.for_model("nano", stability_score_thresh=0.5).stability_score_thresh == 0.5


def test_the_points_of_a_picture_are_counted_with_its_crops() -> None:
    assert AutomaticOptions().points_per_picture() == 1024
    options = AutomaticOptions(points_per_side=8, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert options.points_per_picture() == 64 + 4 * 16 + 16 * 4


def test_a_hundred_colours_differ() -> None:
    colours = np.array([colour(index) for index in range(100)], float)
    nearest = min(np.abs(a - b).max() for a, b in itertools.combinations(colours, 2))
    assert nearest >= 8
    successive = np.abs(np.diff(colours, axis=0)).max(axis=1)
    assert successive.min() > 100


def test_an_overlay_shows_a_part_on_its_whole_and_leaves_the_rest() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 50:150, 50:250] = masks[1, 80:120, 80:120] = True
    overlay = np.asarray(draw_masks(image, masks))
    np.testing.assert_array_equal(overlay[:45], image[:45])
    assert len({tuple(overlay[y, x]) for y, x in ((10, 10), (100, 200), (100, 100))}) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1)])
def test_an_overlay_can_have_any_size_and_no_mask(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(draw_masks(image, [])), image)
    assert draw_masks(image, [np.ones(size, bool)]).size == size[::-1]
