"""Somebody with the page open in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if os.environ.get("CI"):  # there a browser is part of the machine, and a test that is skipped is a hole
    assert CHROMIUM is not None, "chromium is not installed: make browser-deps"
elif CHROMIUM is None:
    pytest.skip("chromium is not installed: make browser-deps", allow_module_level=True)
elif find_spec("playwright") is None:
    pytest.skip("no playwright: pip install playwright", allow_module_level=True)
sync_api = import_module("playwright.sync_api")

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

    def drag_finger(self, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        """Drags one finger and returns what the page asked for."""
        session = self.context.new_cdp_session(self.page)
        places = [self.at(x0, y0), self.at((x0 + x1) / 2, y1), self.at(x1, y1)]
        with self.page.expect_request(is_masks) as asked:
            for kind, place in zip(("touchStart", "touchMove", "touchMove"), places, strict=True):
                touch = {"x": place[0], "y": place[1]}
                session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [touch]})
            session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
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
