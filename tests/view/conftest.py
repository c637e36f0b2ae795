"""Fixtures for the tests of glesam-view: the page's server on the tiny bundle, asked without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from view_page import Page, serving_page

from glesam_runtime import read_image
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.guard import Rules
from glesam_runtime.view.library import Library

if TYPE_CHECKING:
    from view_person import Person

sys.path.append(str(Path(__file__).parents[1] / "runtime"))  # tiny_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def model(bundle_path: Path) -> Model:
    return Model(bundle_path, "onnxruntime", threads=1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, uint8 [96,128,3], one of them in a sub-folder; a secret lies beside the folder."""
    root = tmp_path_factory.mktemp("view") / "pictures"
    (root / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "sub/b.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
        Image.fromarray(pixels).save(root / name)
    Image.new("RGB", (8, 8), "red").save(root.parent / "secret.png")
    return root


@pytest.fixture(scope="session")
def client(model: Model, folder: Path) -> Iterator[TestClient]:
    """The server on this machine's own address; an error of its own is an answer, not an exception."""
    with opened_app(model, Library.of(folder), Rules()) as app:
        yield TestClient(app, base_url="http://localhost:8765", raise_server_exceptions=False)


@pytest.fixture
def page(client: TestClient) -> Page:
    """A tab that shows a.png."""
    page = Page(client)
    page.open("a.png")
    return page


@pytest.fixture
def image(folder: Path) -> Pixels:
    return read_image(folder / "a.png")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from view_person import CHROMIUM, sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(model: Model, folder: Path) -> Iterator[str]:
    """The page's address, served as glesam-view does."""
    with serving_page(model, folder) as address:
        yield address


@pytest.fixture
def person(browser: Any, address: str) -> Iterator[Person]:  # noqa: ANN401
    """Somebody at a desk, without the preview under the pointer."""
    from view_person import DESKTOP, Person

    person = Person(browser, address, **DESKTOP)
    person.page.uncheck("#preview")
    yield person
    person.context.close()
    assert person.complaints == [], "no error, no warning, nothing that the security policy stopped"
