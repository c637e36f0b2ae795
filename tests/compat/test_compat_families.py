"""SamPredictor and SamAutomaticMaskGenerator on bundles of SAM 2 and RobustSAM answer as a Predictor does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from glesam_runtime import Predictor, Prompt
from glesam_runtime.bundle.spec import Family
from glesam_runtime.compat import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

sys.path.append(str(Path(__file__).parents[1] / "runtime"))  # tiny_bundle

BOX = (10, 20, 50, 70)
POINTS, LABELS = np.array([[20, 45], [40, 60.5], [55, 10]]), np.array([1, 0, 1])
LOGITS = np.linspace(-90, 90, 256, dtype=np.float32).reshape(16, 16)
PROMPTS = {
    "points": ({"point_coords": POINTS, "point_labels": LABELS}, ([(20, 45), (55, 10)], [(40, 60.5)])),
    "a box": ({"box": np.array(BOX)}, ([], [])),
    "a box, points": (
        {"box": np.array(BOX), "point_coords": POINTS, "point_labels": LABELS},
        ([(20, 45), (55, 10)], [(40, 60.5)]),
    ),
    "logits": ({"box": np.array(BOX), "mask_input": LOGITS[None]}, ([], [])),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    from tiny_bundle import write_bundle

    root = tmp_path_factory.mktemp("families")
    families: tuple[Family, ...] = ("sam2", "robustsam")
    return {family: write_bundle(root / family, family) for family in families}


def prompt_of(name: str) -> Prompt:
    arguments, (on, beside) = PROMPTS[name]
    box = BOX if "box" in arguments else None
    return Prompt(box, on, beside, LOGITS if "mask_input" in arguments else None)


def sorted_by_label(arguments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A Predictor hands points on the object over first; their order changes the last bits."""
    if "point_coords" not in arguments:
        return arguments
    order = np.argsort(-LABELS, kind="stable")
    return {**arguments, "point_coords": POINTS[order], "point_labels": LABELS[order]}


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_masks_are_those_of_a_predictor(
    bundles: dict[Family, Path], family: Family, name: str, image: np.ndarray
) -> None:
    ours = SamPredictor(sam_model_registry["default"](checkpoint=bundles[family]))
    expected = Predictor.from_bundle(bundles[family])
    for predictor in (ours, expected):
        predictor.set_image(image)
    assert ours.input_size == expected.geometry.resized_size
    for multimask in [False, True] if expected.manifest.multimask else [False]:
        masks, scores, logits = ours.predict(**sorted_by_label(PROMPTS[name][0]), multimask_output=multimask)
        answer = expected.predict(prompts=[prompt_of(name)], multimask=multimask)
        np.testing.assert_array_equal(masks, answer.masks.reshape(masks.shape))
        np.testing.assert_array_equal(scores, answer.iou_predictions.reshape(scores.shape))
        np.testing.assert_array_equal(logits, answer.low_res_masks.reshape(logits.shape))


@pytest.mark.parametrize("resize", ["squash", "longest-side"])
def test_the_transform_resizes_as_the_model_does(
    bundles: dict[Family, Path], image: np.ndarray, resize: str
) -> None:
    ours = SamPredictor(Predictor.from_bundle(bundles["sam2"], resize=resize))
    ours.set_image(image)
    expected = ours.predict(box=np.array(BOX))
    transformed = ours.transform.apply_image(image)
    assert transformed.shape[:2] == ours.input_size
    ours.set_torch_image(np.moveaxis(transformed, -1, 0)[None], image.shape[:2])
    for actual, wanted in zip(ours.predict(box=np.array(BOX)), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_the_embedding_is_what_the_decoder_reads(bundles: dict[Family, Path], image: np.ndarray) -> None:
    shapes = {}
    for family, path in bundles.items():
        ours = SamPredictor(Predictor.from_bundle(path))
        ours.set_image(image)
        shapes[family] = ours.get_image_embedding().shape
    assert shapes == {"sam2": (1, 256, 4, 4), "robustsam": (1, 768, 4, 4)}


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_automatic_masks_are_those_at_their_points(
    bundles: dict[Family, Path], family: Family, image: np.ndarray
) -> None:
    predictor = Predictor.from_bundle(bundles[family])
    settings = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    found = SamAutomaticMaskGenerator(predictor, points_per_side=3, **settings).generate(image)
    predictor.set_image(image)
    assert found
    for record in found:
        (point,) = record["point_coords"]
        answer = predictor.predict(points=[point], multimask=predictor.manifest.multimask)
        masks = answer.masks.reshape(-1, *image.shape[:2])
        assert any(np.array_equal(record["segmentation"], mask) for mask in masks)
