"""The addresses of the page, and which function answers each; every error is one line of JSON."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..errors import BackendError, GlesamError, InputError
from ..image_io.pictures import jpeg_bytes
from ..tools.run.session import Model
from .answers import (
    NO_DEGRADATION,
    Json,
    can_degrade,
    encoded_document,
    mask_document,
    picture_document,
    start_document,
)
from .calls import chosen_files, command_lines, python_program
from .guard import Guard, Rules
from .library import SHOWN_QUALITY, Library, read_upload
from .requests import json_body, level_and_seed, mask_request, save_upload
from .saving import saved
from .tabs import ClosedTabError, Picture, StaleError, Tab, Tabs
from .worker import BusyError, OpenModel, Worker

Result = TypeVar("Result")
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATUSES = {BusyError: 503, StaleError: 409, ClosedTabError: 410, BackendError: 500}
"""HTTP statuses of errors; that of all others is 422."""


@contextmanager
def opened_app(
    model: Model, library: Library, rules: Rules, report: Callable[[OpenModel], None] = lambda _: None
) -> Iterator[ASGIApp]:
    """Yields the application; the model is opened before, reported, and closed after the block.

    Raises BundleError and BackendError as Predictor.from_bundle does.
    """
    with Worker() as worker:
        tabs = worker.now(lambda: Tabs(OpenModel.open(model)))
        try:
            report(tabs.model)
            app = Starlette(
                routes=View(tabs, library, worker).routes(),
                exception_handlers={
                    GlesamError: _expected_error,
                    HTTPException: _http_error,
                    Exception: _unexpected_error,
                },
            )
            yield Guard(app, rules)
        finally:
            worker.now(tabs.close)


class View:
    """The functions that answer the page. All that touches a tab or the model runs in the worker."""

    def __init__(self, tabs: Tabs, library: Library, worker: Worker) -> None:
        self._tabs = tabs
        self._library = library
        self._worker = worker
        self._files = page_files()

    def routes(self) -> list[Route]:
        """Returns the addresses, relative to the page's own."""
        tab = "/api/tabs/{tab}"
        return [
            Route("/api/start", self.start),
            Route("/api/samples/{name}", self.thumbnail),
            Route("/api/tabs", self.open_tab, methods=["POST"]),
            Route(f"{tab}/close", self.close_tab, methods=["POST"]),
            Route(f"{tab}/open", self.open_listed, methods=["POST"]),
            Route(f"{tab}/upload", self.upload, methods=["POST"]),
            Route(f"{tab}/degrade", self.degrade, methods=["POST"]),
            Route(f"{tab}/picture", self.picture),
            Route(f"{tab}/encode", self.encode, methods=["POST"]),
            Route(f"{tab}/masks", self.masks, methods=["POST"]),
            Route(f"{tab}/save", self.save, methods=["POST"]),
            Route(f"{tab}/calls", self.calls, methods=["POST"]),
            Route("/", self.page),
            Route("/{name}", self.page),
        ]

    async def page(self, request: Request) -> Response:
        """Answers with a file of page/."""
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise HTTPException(404, f"{name}: no such page; expected /")
        content, media_type = self._files[name]
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    async def start(self, _: Request) -> Response:
        """Answers with the model, the pictures and the limits."""
        return JSONResponse(start_document(self._tabs.model, self._library))

    async def thumbnail(self, request: Request) -> Response:
        """Answers with a small picture of a sample."""
        name = request.path_params["name"]
        content = await self._worker.do(lambda: self._library.thumbnail(name))
        return Response(content, media_type="image/jpeg", headers={"cache-control": "max-age=3600"})

    async def open_tab(self, _: Request) -> Response:
        """Opens a tab and answers with its key."""
        return JSONResponse({"tab": await self._worker.do(self._tabs.open)})

    async def close_tab(self, request: Request) -> Response:
        """Closes a tab whose page has gone."""
        key = request.path_params["tab"]
        await self._worker.do(lambda: self._tabs.give_back(key))
        return Response(status_code=204)

    async def open_listed(self, request: Request) -> Response:
        """Shows a picture of the folder, or a sample."""
        body = await json_body(request)
        name, is_sample = body.get("name"), body.get("sample") is True
        if not isinstance(name, str):
            raise InputError("name: expected the name of a picture that the page lists, found none")
        return await self._show(request, lambda: self._library.read(name, is_sample))

    async def upload(self, request: Request) -> Response:
        """Shows a picture that the browser sends."""
        with tempfile.NamedTemporaryFile(prefix="glesam-view-") as file:
            name = await save_upload(request, file)
            return await self._show(request, lambda: read_upload(Path(file.name), name))

    async def degrade(self, request: Request) -> Response:
        """Shows the same picture at another level."""
        level, seed = level_and_seed(await json_body(request))
        if level and not can_degrade():
            raise InputError(NO_DEGRADATION)

        def degrade(tab: Tab) -> Json:
            tab.degrade(level, seed)
            return picture_document(tab)

        return JSONResponse(await self._with_tab(request, degrade))

    async def picture(self, request: Request) -> Response:
        """Answers with the picture as it is shown."""
        content = await self._with_tab(request, lambda tab: jpeg_bytes(tab.picture.shown(), SHOWN_QUALITY))
        return Response(content, media_type="image/jpeg")

    async def encode(self, request: Request) -> Response:
        """Runs the encoder and GLE, so that the first click need not wait for them."""
        return JSONResponse(await self._with_tab(request, encoded_document))

    async def masks(self, request: Request) -> Response:
        """Segments the objects of a request."""
        masks = mask_request(await json_body(request))
        return JSONResponse(await self._with_tab(request, lambda tab: mask_document(tab, masks)))

    async def save(self, request: Request) -> Response:
        """Answers with a file of masks at full size."""
        body = await json_body(request)
        masks, kind = mask_request(body), body.get("format")
        file = await self._with_tab(request, lambda tab: saved(tab, masks, kind))
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name)}",
            "x-name": quote(file.name),
            "x-note": quote(file.note),
        }
        return Response(file.content, media_type=file.media_type, headers=headers)

    async def calls(self, request: Request) -> Response:
        """Answers with the same request as a command line and as Python."""
        masks = mask_request(await json_body(request))
        model = self._tabs.model.request

        def texts(tab: Tab) -> Json:
            tab.check_request(masks.revision, masks.sides)
            return {
                "command": command_lines(tab.picture, masks, model),
                "chosen": chosen_files(tab.picture, masks) if masks.multimask else [],
                "python": python_program(tab.picture, masks, model),
            }

        return JSONResponse(await self._with_tab(request, texts))

    async def _show(self, request: Request, read: Callable[[], Picture]) -> Response:
        """Reads a picture and shows it in the request's tab; where it cannot be read, the old one stays."""

        def show(tab: Tab) -> Json:
            tab.show(read())
            return picture_document(tab)

        return JSONResponse(await self._with_tab(request, show))

    async def _with_tab(self, request: Request, function: Callable[[Tab], Result]) -> Result:
        key = request.path_params["tab"]
        return await self._worker.do(lambda: function(self._tabs.get(key)))


def page_files() -> dict[str, tuple[bytes, str]]:
    """Returns content and media type of every file of page/, by name: no path of a request is ever opened."""
    return {
        file.name: (file.read_bytes(), _MEDIA_TYPES[Path(file.name).suffix])
        for file in files(__package__).joinpath("page").iterdir()
        if Path(file.name).suffix in _MEDIA_TYPES
    }


async def _expected_error(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 422)
    return JSONResponse({"error": str(error)}, status)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    logging.getLogger("uvicorn.error").error("%s failed", request.url.path, exc_info=error)
    return JSONResponse({"error": "an error in glesam-view itself; the terminal has its report"}, 500)
