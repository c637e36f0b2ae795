"""Running calls of an engine, which close() waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Resource = TypeVar("Resource")


class Shared(Generic[Resource]):
    """A resource that threads use at once and one of them closes: never under a running call.

    OpenVINO ends the process where a compiled graph is freed while, or by a thread that, computes with it.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource: Resource | None = resource
        self._running = 0
        self._changed = threading.Condition()

    @contextmanager
    def used(self) -> Iterator[Resource | None]:
        """Yields the resource, which lives until the block ends; None after close()."""
        with self._changed:
            resource = self._resource
            self._running += 1
        try:
            yield resource
        finally:
            del resource  # the last reference is close()'s
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Refuses new calls, waits for the running ones, and drops the resource; twice is allowed."""
        with self._changed:
            resource, self._resource = self._resource, None
            try:
                # In short steps: Ctrl-C ends the wait.
                while self._running:
                    self._changed.wait(0.1)
            except BaseException:
                self._resource = resource  # still in use: a later close() frees it
                raise
        del resource
