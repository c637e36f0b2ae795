"""Shows the progress of long work on stderr: one line on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ..errors import printable
from .bottom_line import BottomLine

Item = TypeVar("Item")
LINES = 10
"""Largest number of plain lines."""
QUIET_S = 5
"""Work that ends sooner prints no plain lines [s]."""
REFRESH_S = 0.1
"""Shortest time between two looks of the line on a terminal [s]."""


class Track(Protocol):
    """`track`, or another function in its place: a caller's choice of what long work shows."""

    def __call__(self, items: Iterable[Item], total: int, what: str) -> Iterable[Item]: ...


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Passes `items` on and shows how many of `total` are done. `what` names them: "pictures"."""
    with counter(total, what) as advance:
        for item in items:
            yield item
            advance(1)


def untracked(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """Returns `items` and shows nothing: for work that is itself one step of work that is tracked."""
    return items


def track_in(place: str) -> Track:
    """Returns a `track` that adds where: "norms smoothed in gle"."""

    def tracked(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
        return track(items, total, f"{what} in {place}")

    return tracked


@contextmanager
def counter(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number of `what` finished since its last call."""
    if not sys.stderr.isatty():
        yield _plain_lines(total, what)
        return
    with BottomLine() as line:
        yield _in_place(line, total, what)


def _in_place(line: BottomLine, total: int, what: str) -> Callable[[int], None]:
    """Returns counter's function for a terminal."""
    start, shown, done = time.monotonic(), 0.0, 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if now - shown >= REFRESH_S or done >= total:
            shown = now
            left = (now - start) / done * (total - done) if done else None
            line.show(f"{what}: {done} of {total}" + ("" if left is None else f", {clock(left)} left"))

    advance(0)
    return advance


def clock(seconds: float) -> str:
    """Returns a time as 0:07, 12:34 or 1:23:45."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plain_lines(total: int, what: str) -> Callable[[int], None]:
    """Returns counter's function for plain lines."""
    start, done = time.monotonic(), 0

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        seconds = time.monotonic() - start
        if seconds > QUIET_S and done * LINES // total > before * LINES // total:
            print(f"{what}: {done} of {total}, {seconds:.0f} s", file=sys.stderr, flush=True)

    return advance


@contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows how far `what` is: in place on a terminal, in plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: print(printable(f"{what}: {text}"), file=sys.stderr, flush=True)
        return
    with BottomLine() as line:
        line.show(what)
        yield lambda text: line.show(f"{what}: {text}")
