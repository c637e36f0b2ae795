"""Runs work in another thread, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def background_thread() -> Iterator[ThreadPoolExecutor]:
    """Yields a pool of one thread, which drops its waiting work at the end of the block, also by Ctrl-C."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, depth: int
) -> Iterator[Result]:
    """Yields function(item) for each item, in order, computed in `pool` while the caller uses earlier ones.

    At most `depth` items beyond the one that the caller waits for are taken from `items`.
    """
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
