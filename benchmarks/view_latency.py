"""Milliseconds from a click to its mask: of the server's answer, and on the screen of a browser.

    python benchmarks/view_latency.py [BUNDLE]... [--backend NAME]... [--clicks 60] [--browser chromium]

`answer` is a request over HTTP until its last byte; `click to mask` is what the page itself measures, from
the event of the click to the frame that shows the mask. Clicks are random points of the degraded example
photograph, each an object of its own. The server runs in a process of its own, as glesam-view does. Without
Playwright or the browser the second row is missing, and the note says so.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from harness.options import BackendsOption, BundlesArgument, NoteOption, RecordOption
from harness.record import REPOSITORY, Run

from glesam_runtime import Bundle

PHOTO = REPOSITORY / "examples/photos/astronaut_lq3.jpg"
SIDE_PX = 512
MAIN = "from glesam_runtime.cli.view import main; main()"
WARMUP = 5
PERCENTILE = 90
Points = Sequence[tuple[float, float]]


def main(
    bundles: BundlesArgument = None,
    backend: BackendsOption = None,
    clicks: Annotated[int, typer.Option(metavar="N", min=1, help="Clicks that count.")] = 60,
    browser: Annotated[str, typer.Option(metavar="COMMAND", help="The browser.")] = "chromium",
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("nano_speed", f"glesam-view, one click on a picture that is encoded: {clicks} clicks")
    executable = shutil.which(browser) if find_spec("playwright") else None
    rows = []
    for path, name in product(bundles or [None], backend or ["auto"]):
        manifest = Bundle.open(path).manifest
        points = random_points(WARMUP + clicks)
        with server(path, name) as address:
            measured = {"answer": answers(address, points)}
            if executable is not None:
                measured["click to mask"] = in_browser(address, points, executable)
        contender = f"{manifest.name} {manifest.precision}, {name}"
        rows += [row(contender, what, times[WARMUP:]) for what, times in measured.items()]
    without = "" if executable else "no browser or no Playwright here, so nothing on a screen"
    run.finish(rows, record, "; ".join(filter(None, (note, without))))


def row(contender: str, what: str, times_ms: Sequence[float]) -> dict[str, Any]:
    """Returns the median and the 90th percentile."""
    return {
        "contender": contender,
        "what": what,
        "median_ms": float(np.median(times_ms)),
        "p90_ms": float(np.percentile(times_ms, PERCENTILE)),
    }


def random_points(count: int) -> Points:
    """Returns points of the picture, the same every time."""
    points = np.random.default_rng(0).uniform(0.05 * SIDE_PX, 0.95 * SIDE_PX, (count, 2))
    return [(round(float(x), 1), round(float(y), 1)) for x, y in points]


@contextmanager
def server(bundle: Path | None, backend: str) -> Iterator[str]:
    """Yields the address of glesam-view on the example photograph."""
    command = [sys.executable, "-c", MAIN, str(PHOTO), "--port", "0", "--no-browser", "--backend", backend]
    command += ["--bundle", str(bundle)] if bundle else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("open ").strip()
        finally:
            process.terminate()


def answers(address: str, points: Points) -> list[float]:
    """Returns the milliseconds of each request for a mask."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)

    def post(path: str, body: object) -> Any:  # noqa: ANN401
        connection.request("POST", f"/api/tabs{path}", json.dumps(body), {"content-type": "application/json"})
        return json.loads(connection.getresponse().read())

    tab = "/" + post("", {})["tab"]
    revision = post(f"{tab}/open", {"name": PHOTO.name})["revision"]
    post(f"{tab}/encode", {})
    times = []
    for point in points:
        start = time.perf_counter()
        answer = post(f"{tab}/masks", {"revision": revision, "objects": [{"points": [point]}]})
        times.append((time.perf_counter() - start) * 1000)
        assert answer["objects"], answer
    connection.close()
    return times


def in_browser(address: str, points: Points, executable: str) -> list[float]:
    """Returns the milliseconds that the page measures for each click; the preview is switched off."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        expect(page.locator("#picture")).to_contain_text("pixels", timeout=60_000)
        expect(page.locator("#status")).to_have_text("", timeout=60_000)
        page.uncheck("#preview")
        for x, y in points:
            page.mouse.click(*on_screen(page, x, y))
            expect(page.locator("canvas[data-masks='1']")).to_have_count(1, timeout=60_000)
            page.wait_for_timeout(50)  # what follows a mask, such as the panel, is not part of the next click
            page.keyboard.press("Escape")
            expect(page.locator("canvas[data-masks='0']")).to_have_count(1, timeout=60_000)
        times: list[float] = page.evaluate(
            "performance.getEntriesByName('click-to-mask').map((x) => x.duration)"
        )
        browser.close()
    assert len(times) == len(points), (len(times), len(points))
    return times


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:  # noqa: ANN401
    """Returns where a point of the picture lies; the whole picture is shown, 8 px from the pane's edges."""
    box = page.locator("#stage canvas").first.bounding_box()
    scale = (min(box["width"], box["height"]) - 16) / SIDE_PX
    left, top = (box["width"] - scale * SIDE_PX) / 2, (box["height"] - scale * SIDE_PX) / 2
    return box["x"] + left + scale * x, box["y"] + top + scale * y


if __name__ == "__main__":
    typer.run(main)
