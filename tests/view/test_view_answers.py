"""The page's masks, scores and IoU are those of a Predictor of its own, in every tab and on both sides."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from view_page import BOX, Page, mask_in

from glesam_runtime import Predictor, Prompt, read_image
from glesam_runtime.degradation.lqseg import degrade_level
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.tabs import MASK_PX, MOST_TABS, SHOWN_PX

OBJECTS = [
    {"box": BOX},
    {"points": [[60.5, 40], [70, 44]], "background_points": [[5, 5]]},
    {"box": [2, 2, 50, 90], "points": [[20, 30]]},
]
PROMPTS = [
    Prompt(box=tuple(BOX)),
    Prompt(points=[(60.5, 40), (70, 44)], background_points=[(5, 5)]),
    Prompt(box=(2, 2, 50, 90), points=[(20, 30)]),
]
ENHANCE = {"gle": True, "plain": False}


def predicted(model: Model, image: Pixels, side: str, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
    """Masks [N,M,H,W] and scores [N,M] of a Predictor that has nothing to do with the page."""
    with Predictor.from_bundle(model.bundle, model.backend, ENHANCE[side], threads=1) as predictor:
        predictor.set_image(image)
        prediction = predictor.predict(prompts=PROMPTS, multimask=multimask)
    size = image.shape[:2]
    return prediction.masks.reshape(3, -1, *size), prediction.iou_predictions.reshape(3, -1)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_and_scores_are_the_predictors(
    page: Page, image: Pixels, model: Model, multimask: bool
) -> None:
    answer = page.masks(*OBJECTS, sides=["plain", "gle"], multimask=multimask)
    expected = {side: predicted(model, image, side, multimask) for side in ENHANCE}
    assert not np.allclose(expected["gle"][1], expected["plain"][1]), "GLE shows in the tiny model's scores"
    for side, (masks, scores) in expected.items():
        for i, each in enumerate(answer["objects"]):
            np.testing.assert_array_equal([mask_in(x) for x in each[side]["masks"]], masks[i])
            np.testing.assert_allclose(each[side]["scores"], scores[i], atol=1e-4)
            np.testing.assert_allclose(each[side]["shares"], masks[i].mean(axis=(1, 2)), atol=1e-6)
    for i, each in enumerate(answer["objects"]):
        pairs = zip(expected["gle"][0][i], expected["plain"][0][i], strict=True)
        np.testing.assert_allclose(each["ious"], [iou(a, b) for a, b in pairs], atol=1e-4)


def test_a_mask_is_a_png_of_one_bit_and_transparent_beside_the_object(page: Page) -> None:
    (each,) = page.masks({"box": BOX})["objects"]
    content = base64.b64decode(each["gle"]["masks"][0])
    assert content[24] == 1, "bits of a pixel in the header"
    with Image.open(io.BytesIO(content)) as picture:
        alpha = np.array(picture.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha > 0, mask_in(content))
    assert "plain" not in each and "ious" not in each


def test_two_tabs_keep_their_pictures(client: TestClient, folder: object, model: Model) -> None:
    one, other = Page(client), Page(client)
    one.open("a.png")
    other.open("sub/b.png")
    answers = {page.tab: page.masks({"box": BOX}) for page in (one, other, one)}
    for page, name in ((one, "a.png"), (other, "sub/b.png")):
        _, scores = predicted(model, read_image(f"{folder}/{name}"), "gle", False)
        assert answers[page.tab]["objects"][0]["gle"]["scores"] == pytest.approx([scores[0, 0]], abs=1e-4)


def test_a_degraded_picture_is_that_of_glesam_degrade(page: Page, image: Pixels, model: Model) -> None:
    clean = page.masks(*OBJECTS)
    document = page.degrade(2, seed=5)
    assert (document["level"], document["seed"]) == (2, 5)
    degraded = degrade_level(image, 2, 5, "a.png")
    shown = page.client.get(f"/api/tabs/{page.tab}/picture")
    assert shown.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(shown.content)) as picture:
        assert np.abs(np.array(picture).astype(int) - degraded).mean() < 4, "a JPEG of quality 95"
    answer = page.masks(*OBJECTS)
    _, scores = predicted(model, degraded, "gle", False)
    actual = [each["gle"]["scores"][0] for each in answer["objects"]]
    assert actual == pytest.approx(scores[:, 0].tolist(), abs=1e-4)
    page.degrade(0)
    assert page.masks(*OBJECTS)["objects"] == clean["objects"], "level 0 is the picture itself again"


def test_each_stage_has_its_milliseconds(page: Page) -> None:
    page.degrade(1)
    encoded = page.post("encode", {}).json()
    assert set(encoded["timings_ms"]) == {"degrade", "preprocess", "encode", "enhance"}
    timings = page.masks({"box": BOX}, sides=["gle", "plain"])["timings_ms"]
    assert set(timings) == {"degrade", "preprocess", "encode", "enhance", "decode", "masks", "png"}
    assert all(ms >= 0 for ms in timings.values())
    assert timings["encode"] == encoded["timings_ms"]["encode"], "the encoder ran once for both sides"


def test_a_request_about_an_earlier_picture_is_refused(page: Page) -> None:
    request = page.request({"box": BOX})
    page.open("sub/b.png")
    answer = page.post("masks", request)
    assert answer.status_code == 409 and "click again" in answer.json()["error"]


def test_nothing_is_segmented_before_there_is_a_picture(client: TestClient) -> None:
    answer = Page(client).post("masks", {"revision": 0, "objects": [{"box": BOX}]})
    assert answer.status_code == 409 and "no picture yet" in answer.json()["error"]


def test_the_tab_unused_for_longest_is_closed_for_another(client: TestClient) -> None:
    first, second = Page(client), Page(client)
    for page in (first, second):
        page.open("a.png")
    for _ in range(MOST_TABS - 2):
        Page(client)
    first.masks({"box": BOX})  # so that `second` is the oldest
    Page(client)
    assert first.post("masks", first.request({"box": BOX})).status_code == 200
    answer = second.post("masks", second.request({"box": BOX}))
    assert answer.status_code == 410 and "load the page again" in answer.json()["error"]


def test_a_tab_that_is_given_back_is_closed_and_makes_room(client: TestClient) -> None:
    first = Page(client)
    first.open("a.png")
    for _ in range(MOST_TABS):
        other = Page(client)
        other.open("a.png")
        assert other.post("close", {}).status_code == 204
    assert first.masks({"box": BOX})["objects"]
    answer = other.post("masks", other.request({"box": BOX}))
    assert answer.status_code == 410 and other.post("close", {}).status_code == 204


def test_a_large_picture_and_its_masks_are_shown_smaller_and_saved_whole(
    client: TestClient, model: Model
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (600, SHOWN_PX + 952, 3), np.uint8)
    page = Page(client)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "BMP")
    document = page.upload(buffer.getvalue(), "wide.bmp").json()
    assert (document["width"], document["height"]) == (3000, 600)
    with Image.open(io.BytesIO(page.client.get(f"/api/tabs/{page.tab}/picture").content)) as picture:
        assert picture.size == (SHOWN_PX, 410)
    box = [300, 100, 2400, 500]
    with Predictor.from_bundle(model.bundle, "onnxruntime") as predictor:
        predictor.set_image(image)
        prediction = predictor.predict(box=tuple(box))
        geometry = predictor.geometry
    smaller = type(geometry)((205, MASK_PX), geometry.resized_size, geometry.image_size)
    expected = MaskResizer.for_geometry(smaller).masks(prediction.low_res_masks, 0.0)[0]
    (each,) = page.masks({"box": box})["objects"]
    np.testing.assert_array_equal(mask_in(each["gle"]["masks"][0]), expected)
    file = page.post("save", page.request({"box": box}, format="png"))
    np.testing.assert_array_equal(mask_in(file.content), prediction.masks[0])
