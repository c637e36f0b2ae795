"""The page in a real browser: pictures that come while another one is shown, and the slider meanwhile."""

from __future__ import annotations

from view_person import Person, is_masks, sync_api

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


def test_a_slider_moved_for_a_picture_that_cannot_be_read_goes_back(person: Person) -> None:
    person.page.evaluate(SLOW_ANSWERS, "/upload")
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
    person.page.set_input_files("#file", wrong)
    person.page.evaluate(MOVE_SLIDER, [2, 0])
    assert "notes.png: expected a picture" in person.error()
    has_level(person, "off")
    person.wait_for_picture("a.png")
    person.complaints.clear()  # the browser itself reports a status of 422
