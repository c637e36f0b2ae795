"""The page in a real browser, Debian's chromium: a person's first minutes, and what goes wrong."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from view_page import mask_in, png_of

from glesam_runtime import Predictor, Prompt, read_image
from glesam_runtime.automatic.rle import mask_from_rle
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.library import Library
from glesam_runtime.view.server import bound, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("chromium is not installed: make browser-deps", allow_module_level=True)
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

WIDTH, HEIGHT = 128, 96
MARGIN_PX = 8
DESKTOP = {"viewport": {"width": 1200, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

COLOUR_AT = """(canvas, [x, y]) => {
    const copy = document.createElement("canvas").getContext("2d");
    copy.drawImage(canvas, -Math.round(x * devicePixelRatio), -Math.round(y * devicePixelRatio));
    return [...copy.getImageData(0, 0, 1, 1).data];
}"""
"""Colour of a pixel of the page's canvas, read from a copy: Chromium complains about reading twice."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(model: Model, folder: Path) -> Iterator[str]:
    with (
        bound("127.0.0.1", 0) as site,
        opened_app(model, Library.of(folder), site.rules) as app,
        serving(app, site.listening),
    ):
        yield site.addresses[0]


class Person:
    """Somebody with the page open. Points are pixels of the picture; `complaints` is the console."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:  # noqa: ANN401
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.canvas = self.page.locator("#stage canvas").first
        self.wait_for_picture("a.png")

    def wait_for_picture(self, name: str) -> None:
        sync_api.expect(self.page.locator("#picture")).to_contain_text(name)
        sync_api.expect(self.page.locator("#status")).to_have_text("")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point on the screen while the whole picture is shown in the middle of the pane."""
        box = self.canvas.bounding_box()
        scale = min((box["width"] - 2 * MARGIN_PX) / WIDTH, (box["height"] - 2 * MARGIN_PX) / HEIGHT)
        left, top = (box["width"] - scale * WIDTH) / 2, (box["height"] - scale * HEIGHT) / 2
        return box["x"] + left + scale * x, box["y"] + top + scale * y

    def colour_at(self, x: float, y: float) -> list[int]:
        box = self.canvas.bounding_box()
        screen_x, screen_y = self.at(x, y)
        colour: list[int] = self.canvas.evaluate(COLOUR_AT, [screen_x - box["x"], screen_y - box["y"]])
        return colour

    def click(self, x: float, y: float, button: str = "left") -> dict[str, Any]:
        """Clicks and returns what the page asked for."""
        with self.page.expect_request(is_masks) as asked:
            self.page.mouse.click(*self.at(x, y), button=button)
        return self.settled(asked.value)

    def drag_box(self, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        with self.page.expect_request(is_masks) as asked:
            self.page.mouse.move(*self.at(x0, y0))
            self.page.mouse.down()
            self.page.mouse.move(*self.at((x0 + x1) / 2, y1))
            self.page.mouse.move(*self.at(x1, y1))
            self.page.mouse.up()
        return self.settled(asked.value)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def settled(self, request: Any) -> dict[str, Any]:  # noqa: ANN401
        body: dict[str, Any] = request.post_data_json
        assert request.response().status == 200, request.response().text()
        return body

    def masks(self, count: int, pane: int = 0) -> None:
        """Waits until so many masks are on the screen."""
        canvas = self.page.locator("#stage canvas").nth(pane)
        sync_api.expect(canvas).to_have_attribute("data-masks", str(count))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Waits up to ten seconds."""
        for _ in range(100):
            if is_so():
                return
            self.page.wait_for_timeout(100)
        pytest.fail("it did not happen")

    def saved(self, selector: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(selector)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def error(self) -> str:
        sync_api.expect(self.page.locator("#error")).to_be_visible()
        return str(self.page.locator("#error span").text_content())


def is_masks(request: Any) -> bool:  # noqa: ANN401
    return bool(request.url.endswith("/masks"))


@pytest.fixture
def person(browser: Any, address: str) -> Iterator[Person]:  # noqa: ANN401
    """Somebody at a desk, without the preview under the pointer."""
    person = Person(browser, address, **DESKTOP)
    person.page.uncheck("#preview")
    yield person
    person.context.close()
    assert person.complaints == [], "no error, no warning, nothing that the security policy stopped"


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


def test_a_picture_can_be_dropped_and_pasted(person: Person, image: Pixels) -> None:
    events = {
        "dropped.png": "new DragEvent('drop', { dataTransfer: data, bubbles: true })",
        "pasted.png": "new ClipboardEvent('paste', { clipboardData: data, bubbles: true })",
    }
    for name, event in events.items():
        person.page.evaluate(
            f"""([name, text]) => {{
                const bytes = Uint8Array.from(atob(text), (x) => x.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], name, {{ type: "image/png" }}));
                document.body.dispatchEvent({event});
            }}""",
            [name, base64.b64encode(png_of(image)).decode()],
        )
        person.wait_for_picture(name)
        person.click(64, 48)
        person.masks(1)


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
    for name, each in (*names.items(), *names.items()):
        each.press("Escape")
        asked = each.drag_box(24, 16, 104, 80)
        box = tuple(asked["objects"][0]["box"])
        with Predictor.from_bundle(model.bundle, "onnxruntime") as predictor:
            predictor.set_image(read_image(folder / name))
            score = predictor.predict(box=box).iou_predictions[0]
        sync_api.expect(each.page.locator("#objects")).to_contain_text(f"score {score:.3f}")
    assert other.complaints == []
    other.context.close()


def test_objects_have_colours_and_every_step_can_be_undone(person: Person) -> None:
    person.click(40, 48)
    person.press("Enter")
    person.click(90, 48)
    person.masks(2)
    chips = person.page.locator(".chip")
    colours = [chips.nth(i).evaluate("(chip) => chip.style.background") for i in range(2)]
    assert colours == ["rgb(255, 140, 0)", "rgb(230, 70, 160)"]
    for key, count in (
        ("Control+z", 1),
        ("Control+Shift+z", 2),
        ("Delete", 1),
        ("Control+z", 2),
        ("Escape", 1),
        ("Control+z", 2),
    ):
        person.press(key)
        person.masks(count)
    person.page.click("#clear")
    person.masks(0)
    person.page.click("#undo")
    person.masks(2)
    name, _ = person.saved(".save[data-format=png]")
    assert name == "a.masks.zip"


def test_the_keyboard_alone_marks_an_object(person: Person) -> None:
    person.canvas.focus()
    person.press("ArrowRight")
    for _ in range(3):
        person.press("Shift+ArrowLeft")
    with person.page.expect_request(is_masks) as asked:
        person.press("p")
    (point,) = person.settled(asked.value)["objects"][0]["points"]
    assert 0 < point[0] < 64 and point[1] == pytest.approx(48, abs=0.3)
    person.masks(1)
    person.press("Escape")
    person.press("x")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown"):
        person.press(key)
    with person.page.expect_request(is_masks) as asked:
        person.press("x")
    box = person.settled(asked.value)["objects"][0]["box"]
    assert box[:2] == pytest.approx(point, abs=0.3) and box[2] > box[0] and box[3] > box[1]
    person.press("g")
    sync_api.expect(person.page.locator("#stage")).to_have_attribute("data-mode", "plain")
    person.press("?")
    sync_api.expect(person.page.locator("#help")).to_be_visible()
    person.press("Escape")
    sync_api.expect(person.page.locator("#help")).to_be_hidden()


def test_zoom_and_move_keep_clicks_where_they_are(person: Person) -> None:
    person.page.mouse.move(*person.at(64, 48))
    person.page.mouse.wheel(0, -600)
    asked = person.click(64, 48)
    assert asked["objects"][0]["points"][0] == pytest.approx([64, 48], abs=0.3), (
        "the point under the wheel stays"
    )
    person.press("0")
    asked = person.click(30, 40)
    assert asked["objects"][0]["points"][1] == pytest.approx([30, 40], abs=0.3)


def test_the_mask_under_the_pointer_is_previewed(browser: Any, address: str) -> None:  # noqa: ANN401
    person = Person(browser, address, **DESKTOP)
    before = person.colour_at(64, 48)
    person.page.mouse.move(*person.at(66, 50), steps=3)
    person.until(lambda: person.colour_at(64, 48) != before)
    person.masks(0)
    assert person.page.inner_text("#objects").strip() == "Object 1"
    person.page.mouse.move(*person.at(66, -40))
    person.until(lambda: person.colour_at(64, 48) == before)
    assert person.complaints == []
    person.context.close()


def test_the_same_masks_as_a_command_and_as_python(person: Person) -> None:
    person.page.click("#show-calls")
    assert "nothing to save yet" in person.error()
    person.drag_box(24, 16, 104, 80)
    person.page.click("#show-calls")
    command = person.page.input_value("#command")
    assert re.match(r"glesam-run \S+/a\.png --box 2[34]\S* 1[56]\S* 10[34]\S* \d+\S* --bundle ", command)
    assert "Predictor.from_bundle(" in person.page.input_value("#python")


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
    widths = person.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], "nothing lies beyond the right edge"
    person.page.locator(".save[data-format=png]").scroll_into_view_if_needed()
    assert person.saved(".save[data-format=png]")[0] == "a.mask0.png"
    assert person.complaints == []
    person.context.close()


def test_a_page_that_fell_behind_its_tab_catches_up(person: Person) -> None:
    """An answer that the page has dropped: the tab is degraded, and the page does not know."""
    with person.page.expect_request(lambda request: request.url.endswith("/encode")) as encoding:
        person.page.click("#next")
    tab = encoding.value.url.rsplit("/", 1)[0]
    person.wait_for_picture("b.png")
    shown = person.colour_at(5, 5)
    person.page.request.post(f"{tab}/degrade", data={"level": 3, "seed": 1})
    person.page.mouse.click(*person.at(64, 48))
    person.masks(1)
    sync_api.expect(person.page.locator("#level-name")).to_have_text("LQ-3")
    assert person.colour_at(5, 5) != shown
    person.complaints.clear()  # the browser itself reports a status of 409


def test_a_cleared_object_leaves_no_mask_for_the_next_click(person: Person) -> None:
    person.click(30, 30)
    person.masks(1)
    person.press("Escape")
    person.masks(0)
    person.page.route("**/masks", lambda route: None)  # no answer comes
    person.page.mouse.click(*person.at(100, 70))
    sync_api.expect(person.page.locator(".prompts li")).to_have_count(1)
    person.masks(0)


def test_a_server_that_has_gone_is_a_readable_error(person: Person) -> None:
    person.page.route("**/api/**", lambda route: route.abort())
    person.page.mouse.click(*person.at(64, 48))
    assert "does not answer" in person.error()
    person.complaints.clear()  # the browser itself reports the request
