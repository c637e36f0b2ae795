"""A prediction as boxes, polygons, RLE, JSON and supervision's Detections."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pycocotools import mask as coco_mask

from glesam_runtime import Prediction
from glesam_runtime.automatic.regions import Runs
from glesam_runtime.tools.records.polygons import outlines
from glesam_runtime.tools.records.schema import json_schema


def prediction_of(masks: np.ndarray) -> Prediction:
    scores = np.linspace(0.2, 0.9, masks[..., 0, 0].size, dtype=np.float32).reshape(masks.shape[:-2])
    return Prediction(masks, scores, np.zeros((*masks.shape[:-2], 4, 4), np.float32))


@pytest.fixture
def prediction() -> Prediction:
    """A rectangle, an empty mask, and two regions of which one has a hole."""
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 3:9, 5:21] = True
    masks[2, 0:6, 0:6] = masks[2, 12:20, 20:30] = True
    masks[2, 2:4, 2:4] = False
    return prediction_of(masks)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """Everything that cannot be reached from outside by steps along edges and corners."""
    padded = np.pad(mask, 1)
    runs = Runs.from_mask(~padded)
    region, _ = runs.region_areas()
    filled: np.ndarray = ~runs.mask_of(region == region[0])
    return filled[1:-1, 1:-1]


def filled(polygons: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """The mask that COCO's own code makes of polygons."""
    if not polygons:
        return np.zeros(shape, bool)
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *shape)))
    return np.asarray(drawn).astype(bool)


def test_boxes_are_tight_and_exclusive_at_their_far_side(prediction: Prediction) -> None:
    assert prediction.boxes.tolist() == [[5, 3, 21, 9], [0, 0, 0, 0], [0, 0, 30, 20]]
    assert prediction.boxes.dtype == np.float32
    multimask = prediction_of(prediction.masks[[[0, 1, 2], [2, 1, 0]]])
    assert multimask.boxes.shape == (2, 3, 4)
    assert multimask.boxes[1].tolist() == prediction.boxes[::-1].tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_polygons_run_along_the_edges_of_pixels(prediction: Prediction) -> None:
    rectangle, nothing, two = prediction.polygons()
    assert rectangle == [[5, 3, 21, 3, 21, 9, 5, 9]]
    assert nothing == []
    assert len(two) == 2
    np.testing.assert_array_equal(filled(two, (20, 30)), without_holes(prediction.masks[2]))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("density", [0.1, 0.5, 0.8])
def test_filled_outlines_are_the_mask_for_any_mask(density: float) -> None:
    rng = np.random.default_rng(int(10 * density))
    for shape in ((1, 1), (1, 7), (9, 1), (13, 17), (24, 18)):
        mask = rng.random(shape) < density
        np.testing.assert_array_equal(filled(outlines(mask), shape), without_holes(mask), str(mask))


def test_pixels_that_touch_at_a_corner_are_regions_of_their_own() -> None:
    assert sorted(map(len, outlines(np.eye(3, dtype=bool)))) == [8, 8, 8]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_rle_and_json_hold_every_mask(prediction: Prediction) -> None:
    document = json.loads(prediction.to_json())
    assert (document["width"], document["height"]) == (30, 20)
    for mask, score, rle, record in zip(
        prediction.masks, prediction.iou_predictions, prediction.rle(), document["masks"], strict=True
    ):
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)
        assert record["segmentation"] == rle
        assert record["area"] == mask.sum() == coco_mask.area(rle)
        assert record["bbox"] == coco_mask.toBbox(rle).tolist()
        assert record["predicted_iou"] == pytest.approx(float(score), abs=1e-6)
    assert [record["prompt"] for record in document["masks"]] == [0, 1, 2]


def test_json_follows_the_schema_which_refuses_other_names(prediction: Prediction) -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    multimask = prediction_of(prediction.masks[None])
    for text in (prediction.to_json(), multimask.to_json()):
        validator.validate(json.loads(text))
    document = json.loads(multimask.to_json())
    assert [record["prompt"] for record in document["masks"]] == [0, 0, 0]
    document["masks"][0]["score"] = document["masks"][0].pop("predicted_iou")
    assert not validator.is_valid(document)


def test_supervision_gets_its_detections(prediction: Prediction) -> None:
    import supervision

    detections = prediction_of(prediction.masks[None]).to_supervision()
    assert isinstance(detections, supervision.Detections)
    np.testing.assert_array_equal(detections.xyxy, prediction.boxes)
    np.testing.assert_array_equal(detections.mask, prediction.masks)
    np.testing.assert_array_equal(detections.confidence, prediction.iou_predictions)
    assert detections.data["prompt"].tolist() == [0, 0, 0]
