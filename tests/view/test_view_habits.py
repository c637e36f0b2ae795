"""The page in a real browser: keys, undo, zoom, preview, many objects, and what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from view_person import DESKTOP, Person, is_masks, sync_api

from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.library import Library
from glesam_runtime.view.server import bound, serving


def test_objects_have_colours_and_every_step_can_be_undone(person: Person) -> None:
    person.click(40, 48)
    person.press("Enter")
    person.click(90, 48)
    person.masks(2)
    chips = person.page.locator(".chip")
    colours = [chips.nth(i).evaluate("(chip) => chip.style.background") for i in range(2)]
    assert colours == ["rgb(255, 140, 0)", "rgb(230, 70, 160)"]
    person.page.get_by_role("button", name=re.compile("^Object 1")).click()
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
    sync_api.expect(person.page.locator("#calls")).to_be_visible()
    command = person.page.input_value("#command")
    assert re.match(r"glesam-run \S+/a\.png --box 2[34]\S* 1[56]\S* 10[34]\S* \d+\S* --bundle ", command)
    assert "Predictor.from_bundle(" in person.page.input_value("#python")


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


def test_a_slow_decoder_switches_the_preview_off_until_it_is_quick(person: Person) -> None:
    person.page.route("**/masks", lambda route: answer_with(route, {"timings_ms": {"decode": 400.0}}))
    person.page.check("#preview")
    person.click(64, 48)
    sync_api.expect(person.page.locator("#preview-note")).to_contain_text("off: a mask takes 4")
    person.press("Escape")
    previews: list[str] = []
    person.page.on("request", lambda request: previews.append(request.url))
    person.page.mouse.move(*person.at(20, 20), steps=3)
    person.page.wait_for_timeout(300)
    assert previews == []
    person.page.unroute("**/masks")
    person.page.wait_for_timeout(2000)
    before = person.colour_at(64, 48)
    person.page.mouse.move(*person.at(66, 50), steps=3)
    person.until(lambda: person.colour_at(64, 48) != before)
    sync_api.expect(person.page.locator("#preview-note")).to_be_hidden()


def test_a_file_above_the_limit_is_not_even_sent(person: Person, tmp_path: Path) -> None:
    person.page.route("**/api/start", lambda route: answer_with(route, {"most_bytes": 1 << 20}))
    person.page.reload()
    person.wait_for_picture("a.png")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(3 << 20))
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.url))
    person.page.set_input_files("#file", large)
    assert person.error() == "large.png: expected at most 1 MiB, found 3 MiB; make the file smaller"
    assert sent == []


def answer_with(route: Any, changes: dict[str, Any]) -> None:  # noqa: ANN401
    """Answers a request as the server does, but for some fields; those of objects are merged."""
    answer = route.fetch()
    document = answer.json()
    for name, value in changes.items():
        document[name] = document[name] | value if isinstance(value, dict) else value
    route.fulfill(response=answer, json=document)


def test_the_page_works_below_its_token(browser: Any, model: Model, folder: Path) -> None:  # noqa: ANN401
    with (
        bound("0.0.0.0", 0) as site,
        opened_app(model, Library.of(folder), site.rules) as app,
        serving(app, site.listening),
    ):
        port = site.listening.getsockname()[1]
        person = Person(browser, f"http://127.0.0.1:{port}/{site.rules.token}/", **DESKTOP)
        person.page.uncheck("#preview")
        person.click(64, 48)
        person.masks(1)
        assert person.complaints == []
        person.context.close()


def test_a_server_that_has_gone_is_a_readable_error(person: Person) -> None:
    person.page.route("**/api/**", lambda route: route.abort())
    person.page.mouse.click(*person.at(64, 48))
    assert "does not answer" in person.error()
    person.complaints.clear()  # the browser itself reports the request


def test_more_objects_than_one_request_holds_are_segmented_compared_and_saved(person: Person) -> None:
    """One more than the limit is refused in one line, and nothing is lost."""
    for index in range(64):
        person.page.mouse.click(*person.at(4 + 15 * (index % 8), 4 + 11 * (index // 8)))
        if index < 63:
            person.press("Enter")
    person.masks(64)
    person.press("Enter")
    assert person.error() == "expected at most 64 objects, found 65; save these, then clear or remove some"
    assert person.page.locator("#objects > li").count() == 64
    name, content = person.saved(".save[data-format=rle]")
    assert name == "a.rle.json" and content.count(b'"segmentation"') == 64
    person.page.get_by_text("Swipe", exact=True).click()
    person.until(lambda: person.page.inner_text("#iou").count("IoU") == 64)
    person.page.click("#show-calls")
    sync_api.expect(person.page.locator("#calls")).to_be_visible()
    assert person.page.input_value("#python").count("    Prompt(") == 64
