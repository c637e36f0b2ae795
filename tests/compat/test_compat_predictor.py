"""SamPredictor answers segment-anything's documented calls as segment-anything does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from glesam_runtime import ImageError, Predictor, PromptError
from glesam_runtime.compat import Sam, SamPredictor

POINT, LABEL = np.array([[40, 45]]), np.array([1])
POINTS, LABELS = np.array([[20, 45], [40, 60.5], [55, 10]]), np.array([1, 0, 1])
BOX = np.array([10, 20, 50, 70])
CALLS: dict[str, dict[str, Any]] = {
    "one point": {"point_coords": POINT, "point_labels": LABEL, "multimask_output": True},
    "points, background between": {
        "point_coords": POINTS,
        "point_labels": LABELS,
        "multimask_output": False,
    },
    "a box": {"point_coords": None, "point_labels": None, "box": BOX[None, :], "multimask_output": False},
    "a box and a point": {
        "point_coords": POINT,
        "point_labels": np.array([0]),
        "box": BOX,
        "multimask_output": False,
    },
    "defaults": {"point_coords": POINT, "point_labels": LABEL},
    "logits": {"box": BOX, "return_logits": True},
}
"""The calls of segment-anything's predictor_example notebook, and the rest of the signature."""


@pytest.fixture
def both(
    original: ModuleType,
    torch_sam: Any,  # noqa: ANN401
    bundle_sam: Sam,
    image: np.ndarray,
) -> tuple[Any, SamPredictor]:
    """segment-anything's predictor and ours, with the same image set."""
    theirs, ours = original.SamPredictor(torch_sam), SamPredictor(bundle_sam)
    theirs.set_image(image)
    ours.set_image(image)
    return theirs, ours


def check_same(theirs: Any, ours: Any) -> None:  # noqa: ANN401
    """Masks, scores and logits have the same types, shapes and, but for rounding, values."""
    assert isinstance(ours, tuple) and len(ours) == 3
    for expected, actual in zip(theirs, ours, strict=True):
        assert type(actual) is type(expected)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    masks, expected_masks = np.asarray(ours[0]), np.asarray(theirs[0])
    if masks.dtype == bool:
        assert 0.02 < expected_masks.mean() < 0.98, "masks that are all or nothing prove little"
        assert (masks != expected_masks).sum() <= 2
    else:
        np.testing.assert_allclose(masks, expected_masks, atol=2e-4)
    np.testing.assert_allclose(np.asarray(ours[1]), np.asarray(theirs[1]), atol=2e-5)
    np.testing.assert_allclose(np.asarray(ours[2]), np.asarray(theirs[2]), atol=2e-4)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_predict_answers_as_segment_anything(both: tuple[Any, SamPredictor], call: dict[str, Any]) -> None:
    theirs, ours = both
    check_same(theirs.predict(**call), ours.predict(**call))


def test_the_best_logits_refine_the_next_call(both: tuple[Any, SamPredictor]) -> None:
    answers = []
    for predictor in both:
        _, scores, logits = predictor.predict(point_coords=POINT, point_labels=LABEL, multimask_output=True)
        answers.append(
            predictor.predict(
                point_coords=POINTS,
                point_labels=LABELS,
                mask_input=logits[np.argmax(scores), :, :][None, :, :],
                multimask_output=False,
            )
        )
    check_same(*answers)


def test_batched_boxes_and_points_in_torch_give_tensors(
    both: tuple[Any, SamPredictor], image: np.ndarray
) -> None:
    boxes = torch.tensor([[10, 20, 50, 70], [5, 5, 40, 60], [30, 10, 60, 80]])
    points, labels = torch.tensor([[[20.0, 45.0]], [[40.0, 60.0]]]), torch.tensor([[1], [1]])
    of_boxes, of_points = [], []
    for predictor in both:
        transformed = predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
        of_boxes.append(predictor.predict_torch(None, None, boxes=transformed, multimask_output=False))
        coords = predictor.transform.apply_coords_torch(points, image.shape[:2])
        of_points.append(predictor.predict_torch(coords, labels))
    assert of_boxes[1][0].shape == (3, 1, *image.shape[:2])
    check_same(*of_boxes)
    check_same(*of_points)


def test_the_order_of_channels_is_by_name(both: tuple[Any, SamPredictor], image: np.ndarray) -> None:
    for predictor in both:
        predictor.set_image(np.ascontiguousarray(image[..., ::-1]), image_format="BGR")
    theirs, ours = both
    check_same(theirs.predict(box=BOX), ours.predict(box=BOX))
    expected = SamPredictor(ours.model)
    expected.set_image(image)
    np.testing.assert_array_equal(ours.get_image_embedding(), expected.get_image_embedding())


def test_an_image_of_torch_is_taken_where_it_is_resized(
    both: tuple[Any, SamPredictor], image: np.ndarray
) -> None:
    for predictor in both:
        resized = torch.as_tensor(predictor.transform.apply_image(image)).permute(2, 0, 1)[None]
        predictor.reset_image()
        predictor.set_torch_image(resized, image.shape[:2])
    theirs, ours = both
    check_same(theirs.predict(box=BOX), ours.predict(box=BOX))
    assert ours.input_size == theirs.input_size and ours.original_size == theirs.original_size
    for predictor in both:
        with pytest.raises(AssertionError):
            predictor.set_torch_image(resized[..., :-1, :-1], image.shape[:2])


def test_the_embedding_comes_by_the_notebooks_chain(both: tuple[Any, SamPredictor]) -> None:
    theirs, ours = (predictor.get_image_embedding().detach().cpu().numpy() for predictor in both)
    assert (type(ours), ours.dtype, ours.shape) == (type(theirs), theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(both[1].features, both[0].features.detach(), atol=1e-4)


def test_the_state_of_the_image_is_segment_anythings(both: tuple[Any, SamPredictor]) -> None:
    theirs, ours = both
    assert ours.is_image_set and theirs.is_image_set
    assert (ours.original_size, ours.input_size) == (theirs.original_size, theirs.input_size)
    for predictor in both:
        predictor.reset_image()
        assert not predictor.is_image_set and predictor.features is None


def errors_of(predictor: Any, image: np.ndarray) -> list[type[BaseException]]:  # noqa: ANN401
    """The types of the errors of typical mistakes, in their order."""

    def attempt(name: str, **arguments: object) -> type[BaseException]:
        with pytest.raises(Exception) as caught:  # its type is what is compared
            getattr(predictor, name)(**arguments)
        return caught.type

    mistakes = [attempt("predict", point_coords=None, box=BOX), attempt("get_image_embedding")]
    mistakes += [attempt("predict_torch", point_coords=None, point_labels=None, boxes=None)]
    mistakes += [attempt("set_image", image=image, image_format="RBG")]
    predictor.set_image(image)
    return [*mistakes, attempt("predict", point_coords=POINT)]


def test_mistakes_raise_segment_anythings_types_and_ours(
    original: ModuleType,
    torch_sam: Any,  # noqa: ANN401
    bundle_sam: Sam,
    image: np.ndarray,
) -> None:
    theirs = errors_of(original.SamPredictor(torch_sam), image)
    ours = errors_of(SamPredictor(bundle_sam), image)
    assert theirs == [RuntimeError, RuntimeError, RuntimeError, AssertionError, AssertionError]
    for expected, actual in zip(theirs, ours, strict=True):
        assert issubclass(actual, expected)
        assert issubclass(actual, (ImageError, PromptError))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point_coords": [[1, 2], [3, 4]], "point_labels": [1]}, "for the same B"),
        ({"box": [float("nan"), 0, 9, 9]}, "finite coordinates"),
        ({"box": [[0, 0, 9, 9], [1, 1, 8, 8]], "point_coords": POINT, "point_labels": LABEL}, "2 boxes"),
        ({"box": BOX, "mask_input": np.zeros((16, 16))}, r"expected \[1,1,16,16\]"),
        ({"box": BOX, "mask_input": np.ones((1, 16, 16))}, "found a mask of 0 to 1"),
        (
            {"box": BOX, "mask_input": np.zeros((2, 16, 16))},
            r"expected \[1,1,16,16\], found \[1, 2, 16, 16\]",
        ),
        ({"box": [20, 5, 47]}, r"box: expected numbers \(x0, y0, x1, y1\) in each row, found \[3\]"),
        ({"box": "nano"}, "box: expected numbers"),
        (
            {"point_coords": [[1, 2, 3]], "point_labels": [1]},
            r"point_coords: expected numbers \(x, y\) in each row, found \[1, 3\]",
        ),
        ({}, "no prompt"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    bundle_sam: Sam, image: np.ndarray, arguments: dict[str, Any], message: str
) -> None:
    predictor = SamPredictor(bundle_sam)
    predictor.set_image(image)
    with pytest.raises(PromptError, match=message):
        predictor.predict(**arguments)


def test_two_predictors_of_one_model_hold_their_own_images(bundle_sam: Sam, image: np.ndarray) -> None:
    first, second = SamPredictor(bundle_sam), SamPredictor(bundle_sam)
    first.set_image(image)
    before = first.predict(box=BOX)
    second.set_image(255 - image)
    np.testing.assert_array_equal(first.predict(box=BOX)[2], before[2])


def test_numpy_alone_is_enough(fp32_bundle: Path) -> None:
    """Nothing here imports torch, though predict_torch takes its tensors."""
    code = f"""
import sys, numpy as np
from glesam_runtime.compat import SamPredictor, sam_model_registry
predictor = SamPredictor(sam_model_registry["default"](checkpoint={str(fp32_bundle)!r}).to("cpu"))
predictor.set_image(np.zeros((64, 64, 3), np.uint8))
masks, scores, logits = predictor.predict_torch(None, None, boxes=np.array([[1, 2, 30, 40]]))
assert type(masks) is np.ndarray and masks.shape == (1, 3, 64, 64)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_predictor_can_be_used_directly(fp32_bundle: Path, image: np.ndarray) -> None:
    predictor = Predictor(fp32_bundle)
    sam_predictor = SamPredictor(predictor)
    sam_predictor.set_image(image)
    predictor.set_image(image)
    expected = predictor.predict(box=tuple(BOX.tolist()), multimask=True)
    masks, scores, _ = sam_predictor.predict(box=BOX)
    np.testing.assert_array_equal(masks, expected.masks[0])
    np.testing.assert_array_equal(scores, expected.iou_predictions[0])
