"""Automatic masks from end to end, on the tiny bundle: three nested squares around each point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from test_predictor import with_spied_decoder
from tiny_bundle import write_bundle

from glesam_runtime import AutomaticMask, AutomaticMasks, AutomaticOptions, ImageError, Predictor
from glesam_runtime.preprocess import Pixels

ALL = AutomaticOptions(points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0)


@pytest.fixture
def predictor(bundle_path: Path) -> Predictor:
    return Predictor.from_bundle(bundle_path)


@pytest.fixture
def bright() -> Pixels:
    """Returns a picture whose embedding gives confident scores, from .6 to .9."""
    return np.full((96, 128, 3), 240, np.uint8)


def masks_of(predictor: Predictor, image: Pixels, **options: float) -> list[AutomaticMask]:
    chosen = {"points_per_side": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0} | options
    return AutomaticMasks(predictor, AutomaticOptions(**chosen)).generate(image)  # type: ignore[arg-type]


def test_every_point_gives_its_candidates(predictor: Predictor, bright: Pixels) -> None:
    masks = masks_of(predictor, bright)
    assert len(masks) == 27
    assert len({mask.point_coords for mask in masks}) == 9
    assert [mask.area for mask in masks] == sorted((mask.area for mask in masks), reverse=True)


def test_a_record_describes_its_own_mask(predictor: Predictor, bright: Pixels) -> None:
    predictor.set_image(bright)
    for mask in masks_of(predictor, bright):
        pixels = mask.mask()
        assert pixels.shape == (96, 128)
        assert mask.area == pixels.sum()
        np.testing.assert_array_equal(mask.bbox, coco_mask.toBbox(mask.segmentation))
        assert mask.crop_box == (0, 0, 128, 96)
        candidates = predictor.predict(points=[mask.point_coords], multimask=True)
        (same,) = (i for i in range(3) if np.array_equal(candidates.masks[0, i], pixels))
        assert mask.predicted_iou == pytest.approx(float(candidates.iou_predictions[0, same]), abs=1e-6)


def test_uncertain_and_unstable_masks_are_dropped(predictor: Predictor, bright: Pixels) -> None:
    masks = masks_of(predictor, bright)
    scores = [mask.predicted_iou for mask in masks]
    stabilities = [mask.stability_score for mask in masks]
    sure = masks_of(predictor, bright, pred_iou_thresh=float(np.median(scores)))
    assert {mask.predicted_iou for mask in sure} == {s for s in scores if s > np.median(scores)}
    stable = masks_of(predictor, bright, stability_score_thresh=float(np.median(stabilities)))
    assert sorted(mask.stability_score for mask in stable) == sorted(
        s for s in stabilities if s >= np.median(stabilities)
    )


def test_the_duplicate_with_the_best_score_is_kept(predictor: Predictor, bright: Pixels) -> None:
    everything = masks_of(predictor, bright, points_per_side=8, box_nms_thresh=1)
    kept = masks_of(predictor, bright, points_per_side=8, box_nms_thresh=0.5)
    assert 0 < len(kept) < len(everything)
    overlaps = box_ious(kept, kept) - np.eye(len(kept))
    assert overlaps.max() <= 0.5
    scores = np.array([mask.predicted_iou for mask in kept])
    dropped = [mask for mask in everything if mask not in kept]
    for mask, overlap in zip(dropped, box_ious(dropped, kept), strict=True):
        assert (scores[overlap > 0.5] >= mask.predicted_iou).any()


def box_ious(a: list[AutomaticMask], b: list[AutomaticMask]) -> np.ndarray:
    boxes = [np.array([mask.bbox for mask in masks], np.float64) for masks in (a, b)]
    return np.asarray(coco_mask.iou(*boxes, np.zeros(len(b), bool)))


@pytest.mark.parametrize("memory_mib", [1, 2, 3])
def test_the_size_of_a_batch_changes_nothing(predictor: Predictor, image: Pixels, memory_mib: int) -> None:
    """5, 10 and 15 points a call of 64; by default all of them."""
    few = masks_of(predictor, image, points_per_side=8, memory_mib=memory_mib)
    assert few == masks_of(predictor, image, points_per_side=8)


def test_a_picture_is_encoded_once_and_decoded_in_batches(bundle_path: Path, image: Pixels) -> None:
    predictor, decoder = with_spied_decoder(bundle_path)
    batch_sizes: list[int] = []
    options = AutomaticOptions(points_per_side=10)
    AutomaticMasks(predictor, options).generate(image, batch_sizes.append)
    assert [len(feeds["point_coords"]) for feeds in decoder.calls] == [64, 36]
    assert len({feeds["image_embeddings"].tobytes() for feeds in decoder.calls}) == 1
    assert batch_sizes == [64, 36]


def test_the_predictors_own_picture_stays(predictor: Predictor, image: Pixels, bright: Pixels) -> None:
    predictor.set_image(image)
    before = predictor.predict(box=(24, 16, 104, 80))
    masks_of(predictor, bright, crop_n_layers=1)
    after = predictor.predict(box=(24, 16, 104, 80))
    assert before.iou_predictions == after.iou_predictions


def test_a_mask_of_a_crop_lies_where_it_should(predictor: Predictor, bright: Pixels) -> None:
    masks = masks_of(predictor, bright, crop_n_layers=1)
    in_crops = [mask for mask in masks if mask.crop_box != (0, 0, 128, 96)]
    assert len({mask.crop_box for mask in in_crops}) == 4
    for mask in in_crops:
        x, y, width, height = mask.crop_box
        point_x, point_y = mask.point_coords
        assert x <= point_x < x + width
        assert y <= point_y < y + height
        predictor.set_image(bright[y : y + height, x : x + width])
        candidates = predictor.predict(points=[(point_x - x, point_y - y)], multimask=True).masks[0]
        pixels = mask.mask()
        inside = pixels[y : y + height, x : x + width]
        assert any(np.array_equal(candidate, inside) for candidate in candidates)
        assert inside.sum() == pixels.sum()


def test_masks_that_a_crop_cuts_off_are_dropped(predictor: Predictor, bright: Pixels) -> None:
    for mask in masks_of(predictor, bright, crop_n_layers=1):
        x, y, width, height = mask.crop_box
        left, top, right, bottom = mask.bbox[0], mask.bbox[1], *np.add(mask.bbox[:2], mask.bbox[2:])
        assert x == 0 or left > x + 20 or left <= 20
        assert y == 0 or top > y + 20 or top <= 20
        assert x + width == 128 or right < x + width - 20 or right >= 128 - 20
        assert y + height == 96 or bottom < y + height - 20 or bottom >= 96 - 20


def test_between_crops_the_smaller_crops_mask_is_kept(predictor: Predictor, bright: Pixels) -> None:
    whole = masks_of(predictor, bright)
    merged = masks_of(predictor, bright, crop_n_layers=1, crop_nms_thresh=0)
    first = [mask for mask in merged if mask.crop_box != (0, 0, 128, 96)]
    assert first
    assert sum(mask.crop_box == (0, 0, 128, 96) for mask in merged) < len(whole)
    boxes = [mask.mask().any(axis=0)[None] & mask.mask().any(axis=1)[:, None] for mask in merged]
    assert np.sum(boxes, axis=0).max() == 1  # no two boxes share a pixel


def test_small_masks_can_be_left_with_their_largest_island(predictor: Predictor, bright: Pixels) -> None:
    # A square is one island without holes: nothing to clean, so nothing changes.
    assert masks_of(predictor, bright, min_mask_region_area=10_000) == masks_of(predictor, bright)


def test_a_cleaned_record_describes_its_new_mask(predictor: Predictor, bright: Pixels) -> None:
    mask = masks_of(predictor, bright)[0]
    pixels = mask.mask()
    pixels[0, 127] = True
    pixels[mask.bbox[1] + 9, mask.bbox[0] + 9] = False
    spoilt = AutomaticMask(**vars(mask) | {"segmentation": rle(pixels), "area": 1, "bbox": (0, 0, 128, 96)})
    assert spoilt.without_small_regions(2) == mask


def rle(pixels: np.ndarray) -> dict[str, object]:
    encoded = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": [96, 128], "counts": encoded["counts"].decode()}


def test_no_confident_mask_is_an_empty_list(predictor: Predictor, image: Pixels) -> None:
    assert masks_of(predictor, image, pred_iou_thresh=1) == []
    assert masks_of(predictor, image, pred_iou_thresh=1, crop_n_layers=2, min_mask_region_area=5) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
@pytest.mark.parametrize("layers", [0, 2])
def test_extreme_pictures_work(predictor: Predictor, size: tuple[int, int], layers: int) -> None:
    for mask in masks_of(predictor, np.full((*size, 3), 240, np.uint8), crop_n_layers=layers):
        assert mask.mask().shape == size
        assert mask.area > 0


def test_a_model_without_multimask_gives_one_mask_per_point(tmp_path: Path, bright: Pixels) -> None:
    model = {"name": "single", "sam_type": "tiny", "multimask": False}
    masks = masks_of(Predictor.from_bundle(write_bundle(tmp_path / "single", model=model)), bright)
    assert len(masks) == 9


def test_what_is_no_picture_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match=r"expected a uint8 array \[H,W,3\]"):
        AutomaticMasks(predictor).generate(None)  # type: ignore[arg-type]


def test_every_stage_is_timed(predictor: Predictor, image: Pixels) -> None:
    automatic = AutomaticMasks(predictor, ALL)
    automatic.generate(image)
    assert list(automatic.timings) == ["preprocess", "encode", "enhance", "decode", "postprocess"]
    assert min(automatic.timings.values()) > 0


def test_without_enhancement_gle_is_left_out(bundle_path: Path, bright: Pixels) -> None:
    automatic = AutomaticMasks(Predictor.from_bundle(bundle_path, enhance=False), ALL)
    assert automatic.generate(bright)
    assert "enhance" not in automatic.timings
