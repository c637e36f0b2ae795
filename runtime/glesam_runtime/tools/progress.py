"""Shows the progress of long work on stderr: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
LINES = 10
"""Largest number of plain lines."""
QUIET_S = 5
"""Work that ends sooner prints no plain lines [s]."""


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Passes `items` on and shows how many of `total` are done. `what` names them: "pictures"."""
    with counter(total, what) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counter(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number of `what` finished since its last call."""
    if not sys.stderr.isatty():
        yield _plain_lines(total, what)
        return
    with _progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


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


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    # rich sends redirected stdout to its own console: that is stderr here, so only on a terminal.
    return Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())


@contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows how far `what` is: in place on a terminal, in plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: print(f"{what}: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as spinner:
        yield lambda text: spinner.update(f"{what}: {text}")
