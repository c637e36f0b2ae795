"""The page in a real browser on small telephones: messages that are read, dialogs that begin at their top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from view_person import PHONE, Person, sync_api

COVERED = """() => {
    const error = document.getElementById("error");
    const { left, right, top, bottom } = error.getBoundingClientRect();
    const places = [];
    for (const x of [left + 9, (left + right) / 2, right - 9]) {
        for (let y = top + 2; y < bottom; y += 8) places.push([x, y]);
    }
    return places.filter(([x, y]) => !error.contains(document.elementFromPoint(x, y)));
}"""
"""Places of the error at which something else is seen, or nothing: they lie beyond the screen."""
SCROLLED = "(dialog) => [dialog.scrollTop, dialog.scrollHeight - dialog.clientHeight]"


@pytest.fixture(params=[(360, 640), (320, 480)], ids=["360x640", "320x480"])
def phone(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Person]:  # noqa: ANN401
    width, height = request.param
    person = Person(browser, address, **{**PHONE, "viewport": {"width": width, "height": height}})
    yield person
    person.context.close()


@pytest.mark.parametrize("words", [1, 12, 60])
def test_an_error_of_any_length_is_seen_and_can_be_closed(phone: Person, words: int) -> None:
    reason = " ".join(["reason"] * words)
    phone.page.route("**/masks", lambda route: route.fulfill(status=422, json={"error": reason}))
    phone.page.touchscreen.tap(*phone.at(64, 48))
    assert phone.error() == reason
    assert phone.page.evaluate(COVERED) == []
    inner = "(error) => [error.scrollHeight > error.clientHeight, getComputedStyle(error).overflowY]"
    is_longer, overflow = phone.page.locator("#error").evaluate(inner)
    assert not is_longer or overflow == "auto", "what does not fit can be scrolled"
    phone.page.locator("#error button").tap()
    sync_api.expect(phone.page.locator("#error")).to_be_hidden()


def test_the_toolbar_stays_free_of_messages(phone: Person) -> None:
    """Also of that which says what the page is doing."""
    phone.page.evaluate("document.getElementById('status').textContent = 'encoding the picture'")
    status, toolbar = (phone.page.locator(x).bounding_box() for x in ("#status", "#toolbar"))
    assert status["y"] + status["height"] <= toolbar["y"]


def test_the_page_ends_where_its_panel_does(phone: Person) -> None:
    height, width = phone.page.evaluate(
        "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    )
    assert [width, height] == phone.page.evaluate("[innerWidth, innerHeight]")


def test_dialogs_open_at_their_top_also_again(phone: Person) -> None:
    phone.page.touchscreen.tap(*phone.at(64, 48))
    phone.masks(1)
    for button, name in (("#show-help", "#help"), ("#show-calls", "#calls")) * 2:
        phone.page.locator(button).tap()
        dialog = phone.page.locator(name)
        sync_api.expect(dialog).to_be_visible()
        top, hidden = dialog.evaluate(SCROLLED)
        assert top == 0, name
        assert hidden > 0 or name == "#calls", "the table is longer than the screen"
        dialog.get_by_role("button", name="Close").tap()
        sync_api.expect(dialog).to_be_hidden()
