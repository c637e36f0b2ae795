"""A tab of a browser without the browser: what the page asks, and how it reads masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.library import Library
from glesam_runtime.view.server import bound, serving

BOX = [24, 16, 104, 80]
Json = dict[str, Any]


class Page:
    """What a tab of a browser asks."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.tab = client.post("/api/tabs").json()["tab"]
        self.revision = 0

    def post(self, action: str, body: object) -> Any:  # noqa: ANN401
        return self.client.post(f"/api/tabs/{self.tab}/{action}", json=body)

    def open(self, name: str, sample: bool = False) -> Json:
        return self._shown(self.post("open", {"name": name, "sample": sample}))

    def degrade(self, level: int, seed: int = 0) -> Json:
        return self._shown(self.post("degrade", {"level": level, "seed": seed}))

    def upload(self, content: bytes, name: str = "photo.png") -> Any:  # noqa: ANN401
        headers = {"content-type": "application/octet-stream", "x-name": name}
        answer = self.client.post(f"/api/tabs/{self.tab}/upload", content=content, headers=headers)
        if answer.status_code == 200:
            self._shown(answer)
        return answer

    def request(self, *objects: Json, **options: object) -> Json:
        return {"revision": self.revision, "objects": list(objects), **options}

    def masks(self, *objects: Json, **options: object) -> Json:
        answer = self.post("masks", self.request(*objects, **options))
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    def _shown(self, answer: Any) -> Json:  # noqa: ANN401
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        self.revision = document["revision"]
        return document


@contextmanager
def serving_page(model: Model, folder: Path, port: int = 0) -> Iterator[str]:
    """Yields the page's address, served as glesam-view does."""
    with (
        bound("127.0.0.1", port) as site,
        opened_app(model, Library.of(folder), site.rules) as app,
        serving(app, site.listening),
    ):
        yield site.addresses[0]


def mask_in(png: bytes | str) -> NDArray[np.bool_]:
    """The mask in a PNG, or in one in base64."""
    content = base64.b64decode(png) if isinstance(png, str) else png
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert("L")) > 0


def png_of(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
