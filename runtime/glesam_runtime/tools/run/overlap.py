"""Takes items in another thread while the caller uses earlier ones, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


@contextmanager
def ahead(items: Iterator[Item], depth: int = 1) -> Iterator[Iterator[Item]]:
    """Yields an iterator over `items`, which run in a thread of their own.

    While the caller uses one item, at most `depth` later ones are taken; an error in `items` is raised in its
    place. At the end of the block, also by Ctrl-C, the thread finishes the item that it is at and no other.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield _in_order(items, depth, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(items: Iterator[Item], depth: int, pool: ThreadPoolExecutor) -> Iterator[Item]:
    pending = deque(pool.submit(next, items, _END) for _ in range(depth))
    while True:
        pending.append(pool.submit(next, items, _END))
        item = pending.popleft().result()
        if item is _END:
            return
        yield item  # type: ignore[misc]
