"""The page in a real browser: a person's first minutes, each step once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from view_page import mask_in, serving_page
from view_person import DESKTOP, PHONE, Person, is_masks, sync_api

from glesam_runtime import Predictor, Prompt, read_image
from glesam_runtime.automatic.rle import mask_from_rle
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model


def predictor_masks(model: Model, image: Pixels, prompt: Prompt, multimask: bool = False) -> Any:  # noqa: ANN401
    with Predictor.from_bundle(model.bundle, "onnxruntime") as predictor:
        predictor.set_image(image)
        return predictor.predict(prompts=[prompt], multimask=multimask).masks[0]


def test_a_click_puts_a_mask_on_the_screen(person: Person) -> None:
    before = person.colour_at(70, 50), person.colour_at(5, 90)
    asked = person.click(64, 48)
    (each,) = asked["objects"]
    assert each["box"] is None and each["background_points"] == []
    assert each["points"][0] == pytest.approx([64, 48], abs=0.3)
    person.masks(1)
    after = person.colour_at(70, 50), person.colour_at(5, 90)
    assert after[0] != before[0] and after[1] == before[1]
    assert "score" in person.page.inner_text("#objects")
    durations = person.page.evaluate("performance.getEntriesByName('click-to-mask').map((x) => x.duration)")
    assert len(durations) == 1 and durations[0] > 0
    for stage in ("image encoder", "GLE", "mask decoder", "click to mask"):
        assert stage in person.page.inner_text("#timings")
    assert "tiny fp32, backend onnxruntime" in person.page.inner_text("#model")


def test_a_right_click_is_beside_the_object_and_a_click_on_a_point_removes_it(person: Person) -> None:
    person.click(64, 48)
    asked = person.click(20, 20, button="right")
    assert asked["objects"][0]["background_points"][0] == pytest.approx([20, 20], abs=0.3)
    assert person.page.locator(".prompts li").count() == 2
    person.page.mouse.click(*person.at(20, 20))
    sync_api.expect(person.page.locator(".prompts li")).to_have_count(1)
    person.page.get_by_role("button", name=re.compile("Remove \\+")).click()
    sync_api.expect(person.page.locator(".prompts li")).to_have_count(0)
    person.masks(0)


def test_a_dragged_box_is_saved_as_the_predictors_mask(person: Person, model: Model, image: Pixels) -> None:
    asked = person.drag_box(24, 16, 104, 80)
    box = asked["objects"][0]["box"]
    assert box == pytest.approx([24, 16, 104, 80], abs=0.3)
    person.masks(1)
    expected = predictor_masks(model, image, Prompt(box=tuple(box)))
    name, content = person.saved(".save[data-format=png]")
    assert name == "a.mask0.png"
    np.testing.assert_array_equal(mask_in(content), expected)
    name, content = person.saved(".save[data-format=rle]")
    assert name == "a.rle.json"
    (annotation,) = person.page.evaluate("JSON.parse", content.decode())["annotations"]
    np.testing.assert_array_equal(mask_from_rle(annotation["segmentation"]), expected)
    assert person.saved(".save[data-format=polygons]")[0] == "a.polygons.json"


def test_one_of_three_masks_is_chosen(person: Person, model: Model, image: Pixels) -> None:
    asked = person.drag_box(24, 16, 104, 80)
    person.page.check("#three")
    candidates = person.page.locator("#candidates button")
    sync_api.expect(candidates).to_have_count(3)
    assert candidates.nth(0).get_attribute("aria-checked") == "true", "the tiny model's best score"
    person.canvas.focus()
    person.press("2")
    sync_api.expect(candidates.nth(1)).to_have_attribute("aria-checked", "true")
    _, content = person.saved(".save[data-format=png]")
    box = tuple(asked["objects"][0]["box"])
    np.testing.assert_array_equal(mask_in(content), predictor_masks(model, image, Prompt(box=box), True)[1])
    person.page.click("#show-calls")
    sync_api.expect(person.page.locator("#chosen")).to_have_text("The chosen masks are out/a.mask1.png")


def test_the_slider_degrades_the_picture_and_the_masks_follow(person: Person) -> None:
    person.click(64, 48)
    person.masks(1)
    before = person.colour_at(5, 5)
    with person.page.expect_request(is_masks) as asked:
        person.page.locator("#level").fill("3")
    assert person.settled(asked.value)["revision"] > 1
    sync_api.expect(person.page.locator("#level-name")).to_have_text("LQ-3")
    sync_api.expect(person.page.locator("#status")).to_have_text("")
    degraded = person.colour_at(5, 5)
    assert degraded != before
    with person.page.expect_request(is_masks):
        person.page.fill("#seed", "7")
    sync_api.expect(person.page.locator("#status")).to_have_text("")
    assert person.colour_at(5, 5) != degraded
    with person.page.expect_request(is_masks):
        person.page.locator("#level").fill("0")
    sync_api.expect(person.page.locator("#status")).to_have_text("")
    assert person.colour_at(5, 5) == before
    person.masks(1)


def test_swipe_and_side_by_side_show_both_masks_and_their_iou(person: Person) -> None:
    person.drag_box(24, 16, 104, 80)
    with person.page.expect_request(is_masks) as asked:
        person.page.get_by_text("Swipe", exact=True).click()
    assert person.settled(asked.value)["sides"] == ["gle", "plain"]
    sync_api.expect(person.page.locator("#iou")).to_have_text("object 1: IoU of the two masks 1.000")
    labels = person.page.locator(".label")
    assert labels.all_text_contents() == ["without GLE", "with GLE"]
    divider = person.page.get_by_role("slider", name="Border")
    box = divider.bounding_box()
    person.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    person.page.mouse.down()
    person.page.mouse.move(box["x"] + box["width"] / 2 - 200, box["y"] + 40, steps=4)
    person.page.mouse.up()
    assert 20 < int(divider.get_attribute("aria-valuenow")) < 40
    divider.focus()
    person.press("End")
    sync_api.expect(divider).to_have_attribute("aria-valuenow", "100")
    person.page.get_by_text("Side by side", exact=True).click()
    person.masks(1, pane=0)
    person.masks(1, pane=1)


def test_a_file_that_is_no_picture_is_refused_and_the_old_one_stays(person: Person, tmp_path: Path) -> None:
    wrong = tmp_path / "notes.png"
    wrong.write_text("no picture")
    person.page.set_input_files("#file", wrong)
    assert person.error().startswith("notes.png: expected a picture, found an unknown format")
    person.click(64, 48)
    person.masks(1)
    person.page.click("#error button")
    sync_api.expect(person.page.locator("#error")).to_be_hidden()
    assert [x for x in person.complaints if "422" not in x] == []
    person.complaints.clear()  # the browser itself reports a status of 422


def test_two_tabs_have_a_picture_each(
    person: Person,
    browser: Any,  # noqa: ANN401
    address: str,
    folder: Path,
    model: Model,
) -> None:
    other = Person(browser, address, **DESKTOP)
    other.page.uncheck("#preview")
    other.page.click("#next")
    other.wait_for_picture("b.png")
    names = {"a.png": person, "sub/b.png": other}
    for (name, each), right in zip((*names.items(), *names.items()), (104, 100, 90, 80), strict=True):
        asked = each.drag_box(24, 16, right, 80)
        box = tuple(asked["objects"][0]["box"])
        with Predictor.from_bundle(model.bundle, "onnxruntime") as predictor:
            predictor.set_image(read_image(folder / name))
            score = predictor.predict(box=box).iou_predictions[0]
        sync_api.expect(each.page.locator("#objects")).to_contain_text(f"score {score:.3f}")
    assert other.complaints == []
    other.context.close()


TOOLBAR = """() => {
    const { scrollWidth, clientWidth } = document.getElementById("toolbar");
    const { maskImage } = getComputedStyle(document.getElementById("toolbar"));
    return { whole: scrollWidth, seen: clientWidth, mask: maskImage };
}"""


def test_a_phone_taps_drags_a_box_and_sees_everything(browser: Any, address: str) -> None:  # noqa: ANN401
    person = Person(browser, address, **PHONE)
    with person.page.expect_request(is_masks) as asked:
        person.page.touchscreen.tap(*person.at(64, 48))
    assert person.settled(asked.value)["objects"][0]["points"][0] == pytest.approx([64, 48], abs=0.5)
    person.masks(1)
    person.page.get_by_text("− background").tap()
    with person.page.expect_request(is_masks) as asked:
        person.page.touchscreen.tap(*person.at(20, 20))
    assert len(person.settled(asked.value)["objects"][0]["background_points"]) == 1
    person.page.locator("#accept").tap()
    person.page.get_by_text("box", exact=True).tap()
    asked_for = person.drag_finger(24, 16, 104, 80)["objects"]
    assert asked_for[-1]["box"] == pytest.approx([24, 16, 104, 80], abs=0.5)
    person.masks(2)
    cut = person.page.evaluate(TOOLBAR)
    assert cut["whole"] > cut["seen"] and "gradient" in cut["mask"], "that it goes on is seen"
    person.page.get_by_role("button", name="Remove object 2").tap()
    widths = person.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], "nothing lies beyond the right edge"
    person.page.locator(".save[data-format=png]").scroll_into_view_if_needed()
    assert person.saved(".save[data-format=png]")[0] == "a.mask0.png"
    assert person.complaints == []
    person.context.close()


def test_a_model_that_needs_gle_has_one_mode(browser: Any, tmp_path: Path, folder: Path) -> None:  # noqa: ANN401
    from tiny_bundle import write_bundle

    model = Model(write_bundle(tmp_path / "robustsam", "robustsam"), "onnxruntime", threads=1)
    with serving_page(model, folder) as address:
        person = Person(browser, address, **DESKTOP)
        modes = person.page.locator("#modes input")
        states = {each.get_attribute("value"): each.is_disabled() for each in modes.all()}
        assert states == {"gle": False, "plain": True, "side": True, "swipe": True}
        person.page.keyboard.press("g")
        assert person.page.locator("#modes input:checked").get_attribute("value") == "gle"
        person.click(64, 48)
        person.masks(1)
        person.context.close()
        assert person.complaints == []
