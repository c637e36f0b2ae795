"""A progress bar on a terminal; nothing elsewhere, where the result lines themselves tell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, unit: str) -> Iterator[Item]:
    """Pass `items` on, drawing a bar on stderr where that is a terminal and there are several."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    # rich sends redirected stdout to its own console: that is stderr here, so only on a terminal.
    console = Console(stderr=True)
    with Progress(console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(items, total=total, description=unit)


@contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """Tells how far `what` is: in place on a terminal, in plain lines elsewhere; on stderr."""
    if not sys.stderr.isatty():
        yield lambda text: print(f"{what}: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as spinner:
        yield lambda text: spinner.update(f"{what}: {text}")
