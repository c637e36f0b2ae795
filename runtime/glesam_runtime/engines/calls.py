"""Running calls of an engine, which close() waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

Resource = TypeVar("Resource")
_TASKS = Path("/proc/self/task")
_LONGEST_END_S = 1.0
"""Time that the system may take to end a thread that Python has ended [s]."""


class Shared(Generic[Resource]):
    """A resource that threads use at once and one of them closes: never under a running call.

    OpenVINO ends the process where a compiled graph is freed while, or by a thread that, computes with it,
    or while the system ends a thread that computed with it: 5 of 60 processes.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource: Resource | None = resource
        self._running = 0
        self._users: set[int] = set()
        self._changed = threading.Condition()

    @contextmanager
    def used(self) -> Iterator[Resource | None]:
        """Yields the resource, which lives until the block ends; None after close()."""
        with self._changed:
            resource = self._resource
            self._running += 1
            self._users.add(threading.get_native_id())
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
                _wait_for_ended(self._users)
            except BaseException:
                self._resource = resource  # still in use: a later close() frees it
                raise
        del resource


def _wait_for_ended(threads: set[int]) -> None:
    """Waits until threads that Python has ended are gone: join() returns before the system ends them."""
    deadline = time.monotonic() + _LONGEST_END_S
    while time.monotonic() < deadline:
        living = {thread.native_id for thread in threading.enumerate()}
        if not any((_TASKS / str(number)).exists() for number in threads - living):
            return
        time.sleep(0.001)
