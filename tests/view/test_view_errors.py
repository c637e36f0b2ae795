"""The page in a real browser: an error goes when what failed has worked, and stays until then."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_view_drops import transfer
from test_view_pictures import CLICKS, SLOW_ANSWERS
from view_page import serving_page
from view_person import DESKTOP, Person, sync_api

from glesam_runtime.tools.run.session import Model

NOTHING = "nothing to save yet: click an object, or drag a box around one"


def has_error(person: Person, text: str) -> None:
    """Waits for it: another one may stand there."""
    sync_api.expect(person.page.locator("#error")).to_be_visible()
    sync_api.expect(person.page.locator("#error span")).to_contain_text(text)


def no_error(person: Person) -> None:
    sync_api.expect(person.page.locator("#error")).to_be_hidden()


@pytest.mark.parametrize("failing", ["click", "save"])
def test_a_server_that_is_back_takes_its_error_away(
    browser: Any,  # noqa: ANN401
    model: Model,
    folder: Path,
    failing: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving_page(model, folder, port) as address:
        person = Person(browser, address, **DESKTOP)
        person.page.uncheck("#preview")
        person.click(64, 48)
        person.masks(1)
    if failing == "click":
        person.page.mouse.click(*person.at(20, 20))
    else:
        person.page.click(".save[data-format=png]")
    has_error(person, "does not answer")
    with serving_page(model, folder, port):
        person.page.mouse.click(*person.at(100, 70))
        no_error(person)
        person.masks(1)
        person.context.close()


def test_nothing_to_save_is_said_until_there_is_something(person: Person) -> None:
    person.page.click(".save[data-format=png]")
    has_error(person, NOTHING)
    person.press("g")
    has_error(person, NOTHING)  # another mode marks nothing
    person.click(64, 48)
    no_error(person)
    person.masks(1)
    person.page.click("#clear")
    person.page.click("#show-calls")
    has_error(person, NOTHING)
    person.page.click("#undo")
    no_error(person)


def test_a_limit_is_said_until_an_edit_keeps_it(person: Person) -> None:
    for index in range(65):
        person.page.mouse.click(*person.at(4 + 15 * (index % 8), 3 + 10 * (index // 8)))
    has_error(person, "expected at most 64 points on an object, found 65")
    person.press("Delete")
    no_error(person)


def test_a_save_that_works_takes_the_error_of_one_that_failed(person: Person) -> None:
    person.click(64, 48)
    person.masks(1)
    refusal = {"status": 422, "json": {"error": "no such format"}}
    person.page.route("**/save", lambda route: route.fulfill(**refusal))
    person.page.click(".save[data-format=rle]")
    has_error(person, "no such format")
    person.click(20, 20)
    person.until(lambda: person.page.evaluate(CLICKS) == 2)
    has_error(person, "no such format")  # a mask is no file
    person.page.unroute("**/save")
    person.saved(".save[data-format=rle]")
    no_error(person)
    person.complaints.clear()  # the browser itself reports a status of 422


def test_an_unread_error_stays_while_something_else_works(person: Person) -> None:
    """A picture that was under way before, and the preview under the pointer."""
    person.page.evaluate(SLOW_ANSWERS, "/open")
    person.page.click("#next")
    transfer(person, "drop", {}, "https://example.org/photo.jpg")
    person.wait_for_picture("b.png")
    has_error(person, "found a link or a text")
    person.page.route("**/calls", lambda route: route.abort())
    person.click(64, 48)
    person.page.click("#show-calls")
    has_error(person, "does not answer")
    person.press("Escape")
    person.masks(0)
    person.page.check("#preview")
    before = person.colour_at(64, 48)
    person.page.mouse.move(*person.at(66, 50), steps=3)
    person.until(lambda: person.colour_at(64, 48) != before)
    has_error(person, "does not answer")
    person.complaints.clear()  # the browser itself reports the request


@pytest.fixture
def with_a_broken_one(browser: Any, model: Model, tmp_path: Path) -> Iterator[Person]:  # noqa: ANN401
    """Somebody before a folder whose second picture of three is none, and which has a mask."""
    for name in ("a.png", "a_mask.png", "c.png"):
        Image.new("RGB", (128, 96)).save(tmp_path / name)
    (tmp_path / "b.png").write_text("no picture")
    with serving_page(model, tmp_path) as address:
        person = Person(browser, address, **DESKTOP)
        yield person
        person.context.close()


def test_the_list_names_the_picture_that_is_shown(with_a_broken_one: Person, image: Any) -> None:  # noqa: ANN401
    """What is refused does not stay in it, and the next key goes on behind it."""
    person = with_a_broken_one
    listed = person.page.locator("#pictures")
    person.page.select_option("#pictures", "b.png")
    has_error(person, "b.png: expected a picture")
    sync_api.expect(listed).to_have_value("a.png")
    sync_api.expect(person.page.locator("#picture")).to_contain_text("a.png")
    person.canvas.focus()
    person.press("]")
    person.wait_for_picture("c.png")
    sync_api.expect(listed).to_have_value("c.png")
    no_error(person)
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
    person.page.set_input_files("#file", wrong)
    has_error(person, "notes.png: expected a picture")
    sync_api.expect(listed).to_have_value("c.png")
    person.press("[")
    has_error(person, "b.png: expected a picture")
    person.press("[")
    person.wait_for_picture("a.png")
    person.page.locator("details summary").click()
    person.page.locator("aside .sample").first.click()
    sync_api.expect(person.page.locator("#picture")).to_contain_text("astronaut")
    assert person.page.evaluate("document.getElementById('pictures').selectedIndex") == -1


def test_the_page_says_what_of_the_folder_is_left_out(with_a_broken_one: Person) -> None:
    note = with_a_broken_one.page.locator("#left-out")
    sync_api.expect(note).to_contain_text("left out 1 mask of pictures in ")
    sync_api.expect(note).to_contain_text("first a_mask.png")
