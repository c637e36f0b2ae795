"""predict takes a detector's boxes and SAM's arrays, set_image files, PIL images and OpenCV's order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_bundle

import glesam_runtime
from glesam_runtime import (
    BackendError,
    Bundle,
    BundleError,
    ImageError,
    Predictor,
    Prompt,
    PromptError,
    read_image,
)
from glesam_runtime.image_io.inputs import as_pixels
from glesam_runtime.preprocess import Pixels

BOXES = [(8.0, 8.0, 60.0, 60.0), (64.0, 40.0, 120.0, 90.0)]
POINTS = np.array([[[64, 48], [2, 2]], [[30, 30], [0, 0]]])
LABELS = np.array([[1, 0], [1, -1]])


@pytest.fixture
def predictor(bundle_path: Path, image: Pixels) -> Predictor:
    predictor = Predictor(bundle_path)
    predictor.set_image(image)
    return predictor


@pytest.mark.parametrize(
    ("arrays", "prompts"),
    [
        ({"boxes": np.array(BOXES, np.float32)}, [Prompt(box) for box in BOXES]),
        ({"boxes": BOXES}, [Prompt(box) for box in BOXES]),
        (
            {"point_coords": POINTS, "point_labels": LABELS},
            [Prompt(points=[(64, 48)], background_points=[(2, 2)]), Prompt(points=[(30, 30)])],
        ),
        (
            {"point_coords": POINTS[0], "point_labels": LABELS[0], "box": BOXES[1]},
            [Prompt(BOXES[1], [(64, 48)], [(2, 2)])],
        ),
        (
            {"boxes": BOXES, "point_coords": POINTS, "point_labels": LABELS},
            [Prompt(BOXES[0], [(64, 48)], [(2, 2)]), Prompt(BOXES[1], [(30, 30)])],
        ),
        (
            {"boxes": BOXES[:1], "point_coords": POINTS[0], "point_labels": LABELS[0]},
            [Prompt(BOXES[0], [(64, 48)], [(2, 2)])],
        ),
    ],
    ids=["boxes", "lists", "points", "one object", "boxes with points", "one box with points"],
)
def test_arrays_are_the_same_prompts(
    predictor: Predictor, arrays: dict[str, Any], prompts: list[Prompt]
) -> None:
    expected, actual = predictor.predict(prompts=prompts), predictor.predict(**arrays)
    np.testing.assert_array_equal(actual.low_res_masks, expected.low_res_masks)
    np.testing.assert_array_equal(actual.masks, expected.masks)


def test_sams_name_of_multimask_is_taken_too(predictor: Predictor) -> None:
    assert predictor.predict(boxes=BOXES, multimask_output=True).masks.shape == (2, 3, 96, 128)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"boxes": BOXES, "prompts": [Prompt(BOXES[0])]}, "give objects in one way"),
        ({"boxes": BOXES, "points": [(1, 2)]}, "give objects in one way"),
        ({"boxes": BOXES, "box": BOXES[0]}, "belong to one object"),
        ({"boxes": np.zeros((0, 4))}, "has no rows; skip this image"),
        ({"boxes": []}, "has no rows; skip this image"),
        ({"boxes": BOXES[0]}, r"boxes: expected \[N,4\], rows of four numbers"),
        ({"boxes": "all"}, "boxes: expected rows of four numbers"),
        ({"point_coords": POINTS[0]}, "belong together"),
        ({"point_labels": LABELS[0]}, "belong together"),
        ({"point_coords": POINTS[0], "point_labels": [1]}, r"point_labels: expected \[2\].*found \[1\]"),
        ({"point_coords": POINTS[0], "point_labels": [2, 3]}, r"found 2; a box goes into boxes="),
        ({"point_coords": POINTS[0], "point_labels": [1, float("nan")]}, "found nan"),
        ({"boxes": BOXES, "point_coords": POINTS[0], "point_labels": LABELS[0]}, "each of 2 boxes, found 1"),
        ({"boxes": [(0, 0, 500, 500)]}, "in a picture of 128 x 96"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    predictor: Predictor, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        predictor.predict(**arrays)


def test_a_path_a_pil_image_and_opencvs_order_are_the_same_image(
    predictor: Predictor, photo: Path, image: Pixels
) -> None:
    expected = predictor.image_embeddings.copy()
    with Image.open(photo) as opened:
        for same in (photo, str(photo), opened, Image.fromarray(image)):
            predictor.reset_image()
            predictor.set_image(same)
            np.testing.assert_array_equal(predictor.image_embeddings, expected)
    predictor.set_image(image[..., ::-1], image_format="BGR")
    np.testing.assert_array_equal(predictor.image_embeddings, expected)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_a_pil_image_is_shown_as_its_file_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    levels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    picture = Image.fromarray(levels) if mode == "I;16" else Image.fromarray((levels >> 8).astype(np.uint8))
    turned = Image.Exif()
    turned[274] = 6  # a quarter turn
    (picture if mode == "I;16" else picture.convert(mode)).save(path, exif=turned)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_pixels(opened), read_image(path))


def test_images_that_cannot_be_taken_are_refused(predictor: Predictor, photo: Path, image: Pixels) -> None:
    with pytest.raises(ImageError, match="image_format: expected RGB or BGR, found 'RBG'"):
        predictor.set_image(image, image_format="RBG")
    with pytest.raises(ImageError, match="image_format BGR is for arrays"):
        predictor.set_image(photo, image_format="BGR")
    with pytest.raises(ImageError, match=r"missing\.png: expected a picture, found nothing"):
        predictor.set_image("missing.png")
    cut = photo.with_name("cut.png")
    cut.write_bytes(photo.read_bytes()[:2000])
    with Image.open(cut) as picture, pytest.raises(ImageError, match="PIL image: cannot be read"):
        predictor.set_image(picture)
    assert predictor.predict(boxes=BOXES).masks.any(), "the image before stays"


def test_one_picture_is_no_list_and_a_number_no_model(predictor: Predictor, photo: Path) -> None:
    for images, found in ((str(photo), "one str"), (photo, "one PosixPath"), (5, "int")):
        with pytest.raises(ImageError, match=f"images: expected a list of pictures, found {found}; write"):
            next(predictor.predict_each(images, boxes=BOXES))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"model: expected \"nano\" or a bundle's folder, found int"):
        Predictor(5)  # type: ignore[arg-type]


def test_a_list_of_images_gives_a_prediction_each(predictor: Predictor, photo: Path, image: Pixels) -> None:
    dark = image // 4
    dark_prediction, prediction = predictor.predict_each([dark, photo], boxes=BOXES)
    predictor.set_image(image)
    np.testing.assert_array_equal(prediction.iou_predictions, predictor.predict(boxes=BOXES).iou_predictions)
    assert (dark_prediction.iou_predictions != prediction.iou_predictions).all()


def test_a_predictor_says_what_it_runs_on(bundle_path: Path) -> None:
    for predictor in (Predictor(bundle_path), Predictor(Bundle.open(bundle_path), backend="onnxruntime:cpu")):
        assert predictor.backend.startswith("onnxruntime")
        assert predictor.device == "cpu"
        assert predictor.new_session().backend == predictor.backend
        engines = predictor._engines
    assert (Predictor(predictor.manifest, engines).backend, predictor.device) == ("", "cpu")
    for wrong in ((predictor.manifest,), (bundle_path, engines)):
        with pytest.raises(BackendError, match="expected a Manifest with engines"):
            Predictor(*wrong)
    assert glesam_runtime.__version__.count(".") >= 1


def test_nano_is_the_shipped_model_unless_a_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Bundle.open("nano").hash == Bundle.open().hash
    write_bundle(tmp_path / "nano")
    assert Bundle.open("nano").manifest.name == "tiny"
