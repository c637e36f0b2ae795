"""The page in a real browser: what is dropped, pasted and typed, and what of it is refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from view_page import png_of
from view_person import Person, sync_api

from glesam_runtime.preprocess import Pixels

EVENTS = {
    "drop": "new DragEvent('drop', { dataTransfer: data, bubbles: true })",
    "paste": "new ClipboardEvent('paste', { clipboardData: data, bubbles: true })",
}


def transfer(person: Person, event: str, files: dict[str, bytes], text: str = "") -> None:
    """Drops or pastes files by their names, or a text."""
    person.page.evaluate(
        f"""([files, text]) => {{
            const data = new DataTransfer();
            for (const [name, content] of Object.entries(files)) {{
                const bytes = Uint8Array.from(atob(content), (x) => x.charCodeAt(0));
                data.items.add(new File([bytes], name, {{ type: "image/png" }}));
            }}
            if (text) data.setData("text/plain", text);
            document.body.dispatchEvent({EVENTS[event]});
        }}""",
        [{name: base64.b64encode(content).decode() for name, content in files.items()}, text],
    )


def test_a_picture_can_be_dropped_and_pasted(person: Person, image: Pixels) -> None:
    for event in EVENTS:
        transfer(person, event, {f"{event}.png": png_of(image)})
        person.wait_for_picture(f"{event}.png")
        person.click(64, 48)
        person.masks(1)


def test_of_several_files_the_first_is_opened_and_the_page_says_so(person: Person, image: Pixels) -> None:
    transfer(person, "drop", {"one.png": png_of(image), "two.png": png_of(image)})
    person.wait_for_picture("one.png")
    note = person.page.locator("#others")
    sync_api.expect(note).to_have_text("the first of 2 files; the others are not opened")
    person.page.click("#next")
    person.wait_for_picture("a.png")
    sync_api.expect(note).to_be_hidden()


@pytest.mark.parametrize("event", EVENTS)
def test_a_link_or_a_text_is_no_picture(person: Person, event: str) -> None:
    transfer(person, event, {}, "https://example.org/photo.jpg")
    assert person.error() == (
        "expected a picture file, found a link or a text; save the picture to a file first"
    )


@pytest.mark.parametrize(("typed", "found"), [("-3", "-3"), ("1.5", "1.5"), ("", "none")])
def test_a_wrong_seed_is_refused_with_what_was_found(person: Person, typed: str, found: str) -> None:
    person.page.fill("#seed", typed)
    assert person.error() == f"seed: expected a whole number from 0 to 4294967295, found {found}"


def test_a_page_that_cannot_begin_keeps_its_message(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/api/start", lambda route: route.abort())
    page.goto(address)
    message = "glesam-view does not answer; is it still running in its terminal?"
    sync_api.expect(page.locator("#error span")).to_have_text(message)
    (tmp_path / "a.png").write_bytes(b"a picture")
    page.set_input_files("#file", tmp_path / "a.png")
    for key in ("t", "s", "Enter"):
        page.keyboard.press(key)
    page.wait_for_timeout(200)
    assert errors == []
    page.close()
