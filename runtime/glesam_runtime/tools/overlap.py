"""Work beside the main thread: in order, and with bounded memory."""

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
    """One thread. On leaving, also by an error or Ctrl-C, what it has begun is ended and the rest dropped."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, depth: int
) -> Iterator[Result]:
    """function(item) of each, in order, made in `pool` while the caller works on those before.

    At most `depth` items beyond the one that the caller waits for have been taken from `items`.
    """
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
