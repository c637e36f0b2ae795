"""A progress bar on a terminal, at most ten lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from glesam_runtime.cli.progress import track as bar

Item = TypeVar("Item")
LINES = 10
QUIET_S = 5
"""What is over sooner needs no lines."""


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Passes `total` items on. `what` is counted: "pictures"."""
    if sys.stderr.isatty():
        yield from bar(items, total, what)
        return
    start = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        seconds = time.monotonic() - start
        if seconds > QUIET_S and done * LINES // total > (done - 1) * LINES // total:
            print(f"{what}: {done} of {total}, {seconds:.0f} s", file=sys.stderr, flush=True)
