"""The one thread that owns the model: pictures are read, encoded and segmented there, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ..bundle.reader import Bundle
from ..engines import open_engines, pick_for_bundle
from ..engines.base import Engines
from ..errors import GlesamError
from ..tools.run.session import Model

MOST_WAITING = 32
"""Largest number of requests that wait for the thread; a page has one or two under way."""
Result = TypeVar("Result")


class BusyError(GlesamError):
    """Too many requests wait already."""


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A bundle's compiled graphs, with GLE; the backend that runs them, and why that one."""

    request: Model
    bundle: Bundle
    backend: str
    reason: str
    engines: Engines

    @classmethod
    def open(cls, request: Model) -> OpenModel:
        """Opens what `request` names. Raises BundleError and BackendError as Predictor.from_bundle does."""
        bundle = Bundle.open(request.bundle, request.public_key)
        backend, reason = pick_for_bundle(request.backend, bundle)
        graphs = open_engines(request.backend, bundle, threads=request.threads)
        engines = Engines(graphs["image_encoder"], graphs.get("gle"), graphs["mask_decoder"])
        return cls(request, bundle, backend, reason, engines)


class Worker:
    """Runs functions in its thread, in the order in which they come. Use it as a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "glesam-view")
        self._waiting = 0

    def now(self, function: Callable[[], Result]) -> Result:
        """Returns function(), computed in the thread; for callers outside the event loop."""
        return self._pool.submit(function).result()

    async def do(self, function: Callable[[], Result]) -> Result:
        """Returns function(), computed in the thread. Raises BusyError where MOST_WAITING wait before it."""
        if self._waiting >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} requests wait already; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(function))
        finally:
            self._waiting -= 1

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
