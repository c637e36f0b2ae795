"""The page in a real browser: pictures that come while another one is shown, and the slider meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from view_page import serving_page
from view_person import DESKTOP, Person, is_masks, sync_api

from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.tabs import MOST_TABS

MOVE_SLIDER = """([level, wait]) => new Promise((resolve) => setTimeout(() => {
    const slider = document.getElementById("level");
    slider.value = level;
    slider.dispatchEvent(new Event("input"));
    resolve();
}, wait))"""


SLOW_ANSWERS = """(action) => {
    const { fetch } = window;
    window.fetch = async (path, options) => {
        const answer = await fetch(path, options);
        if (path.endsWith(action)) await new Promise((resolve) => setTimeout(resolve, 1000));
        return answer;
    };
}"""


def has_level(person: Person, level: str) -> None:
    sync_api.expect(person.page.locator("#level-name")).to_have_text(level)
    sync_api.expect(person.page.locator("#status")).to_have_text("")


def test_a_slider_moved_while_a_picture_is_read_degrades_that_picture(person: Person) -> None:
    """Moved before and after it would settle; the new picture has no points of the old one, and is fitted."""
    person.page.evaluate(SLOW_ANSWERS, "/open")
    for wait_ms, step, name in ((0, "#next", "b.png"), (400, "#previous", "a.png")):
        person.click(64, 48)
        person.masks(1)
        person.page.mouse.wheel(0, -600)
        with person.page.expect_response(lambda response: response.url.endswith("/degrade")) as degraded:
            person.page.click(step)
            person.page.evaluate(MOVE_SLIDER, [2, wait_ms])
        assert (degraded.value.json()["name"], degraded.value.json()["level"]) == (name, 2)
        person.wait_for_picture(name)
        has_level(person, "LQ-2")
        sync_api.expect(person.page.locator(".prompts li")).to_have_count(0)
        person.masks(0)
        asked = person.click(30, 40)
        (point,) = asked["objects"][0]["points"]
        assert abs(point[0] - 30) < 0.5 and abs(point[1] - 40) < 0.5, "the new picture is fitted"
        person.page.click("#clear")


def test_a_picture_that_an_answer_to_another_question_brings_is_new(person: Person) -> None:
    """The tab shows b.png, and the page missed the answer: what comes next keeps no points of a.png."""
    asked = person.click(64, 48)
    person.masks(1)
    with person.page.expect_request(is_masks) as masks:
        person.page.mouse.click(*person.at(20, 20))
    tab = masks.value.url.rsplit("/", 1)[0]
    person.page.request.post(f"{tab}/open", data={"name": "sub/b.png", "sample": False})
    person.page.evaluate(MOVE_SLIDER, [1, 0])
    person.wait_for_picture("b.png")
    has_level(person, "LQ-1")
    sync_api.expect(person.page.locator(".prompts li")).to_have_count(0)
    person.masks(0)
    assert person.click(30, 40)["revision"] > asked["revision"]


def test_the_level_that_gle_sees_is_hidden_until_it_has_seen_the_picture(
    browser: Any,  # noqa: ANN401
    tmp_path: Path,
    folder: Path,
) -> None:
    from test_degradation_level import LEVEL, LEVELLED, listing
    from tiny_bundle import model_of, write_bundle, write_manifest

    bundle = write_bundle(tmp_path / "levelled")
    onnx.save(model_of(LEVELLED), bundle / "gle.onnx")
    write_manifest(bundle, listing(bundle, LEVEL))
    with serving_page(Model(bundle, "onnxruntime", threads=1), folder) as address:
        person = Person(browser, address, **DESKTOP)
        level = person.page.locator("#seen-level")
        sync_api.expect(level).not_to_have_attribute("hidden", "")
        person.page.evaluate(SLOW_ANSWERS, "/encode")
        person.page.click("#next")
        sync_api.expect(level).to_have_attribute("hidden", "")
        person.wait_for_picture("b.png")
        sync_api.expect(level).not_to_have_attribute("hidden", "")
        person.context.close()


def test_a_slider_moved_for_a_picture_that_cannot_be_read_goes_back(person: Person) -> None:
    person.page.evaluate(SLOW_ANSWERS, "/upload")
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
    person.page.set_input_files("#file", wrong)
    person.page.evaluate(MOVE_SLIDER, [2, 0])
    assert "notes.png: expected a picture" in person.error()
    has_level(person, "off")
    person.wait_for_picture("a.png")
    person.complaints.clear()  # the browser itself reports a status of 422


def test_a_page_that_is_loaded_again_gives_its_tab_back(person: Person, browser: Any, address: str) -> None:  # noqa: ANN401
    person.click(64, 48)
    other = Person(browser, address, **DESKTOP)
    for _ in range(MOST_TABS):
        other.page.reload()
        other.wait_for_picture("a.png")
    opened: list[str] = []
    person.page.on("request", lambda request: opened.append(request.url))
    assert len(person.click(20, 20)["objects"][0]["points"]) == 2
    assert [url for url in opened if not url.endswith("/masks")] == [], "the tab is still open"
    other.context.close()


def test_a_page_whose_tab_was_closed_goes_on_in_another(person: Person, folder: Path) -> None:
    """The upload is sent again and degraded again; points stay, and masks, files and commands follow."""
    person.page.set_input_files("#file", folder / "sub/b.png")
    person.wait_for_picture("b.png")
    with person.page.expect_response(lambda response: response.url.endswith("/encode")):
        person.page.evaluate(MOVE_SLIDER, [2, 0])
    has_level(person, "LQ-2")
    person.click(64, 48)
    person.masks(1)
    content = person.saved(".save[data-format=rle]")[1]
    close_all(person)
    assert person.saved(".save[data-format=rle]")[1] == content
    close_all(person)
    person.page.mouse.click(*person.at(20, 20))
    sync_api.expect(person.page.locator(".prompts li")).to_have_count(2)
    person.until(lambda: person.page.evaluate(CLICKS) == 2)
    sync_api.expect(person.page.locator("#error")).to_be_hidden()
    has_level(person, "LQ-2")
    assert set(person.complaints) == {GONE}
    person.complaints.clear()


CLICKS = "performance.getEntriesByName('click-to-mask').length"
GONE = "error: Failed to load resource: the server responded with a status of 410 (Gone)"


def close_all(person: Person) -> None:
    """Opens so many tabs that the server closes that of the page."""
    for _ in range(MOST_TABS):
        person.page.request.post(person.page.url + "api/tabs")
