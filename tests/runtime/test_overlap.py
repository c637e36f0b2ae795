"""Work in another thread: its order, its bounds, its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from glesam_runtime.tools.run.overlap import ahead, background_thread


def test_results_come_in_order_however_long_each_takes() -> None:
    def slow_if_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return number

    with background_thread() as pool:
        assert list(ahead(slow_if_even, range(7), pool, 3)) == list(range(7))


@pytest.mark.parametrize("depth", [1, 2])
def test_no_more_items_are_taken_than_the_depth_allows(depth: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    with background_thread() as pool:
        for done, _ in enumerate(ahead(abs, items(), pool, depth)):
            assert len(taken) <= done + 1 + depth
    assert len(taken) == 9


def test_the_next_item_starts_while_the_caller_works() -> None:
    begun = threading.Event()

    def note(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    with background_thread() as pool:
        results = ahead(note, range(2), pool, 1)
        assert next(results) == 0
        assert begun.wait(5)


def test_an_error_reaches_the_caller_at_its_place() -> None:
    with background_thread() as pool:
        results = ahead(lambda number: 1 / number, [1, 0, 1], pool, 2)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_leaving_early_finishes_the_current_item_and_drops_the_rest() -> None:
    begun, ended = [], []
    running, let_go = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        running.set()
        let_go.wait(5)
        ended.append(number)

    def leave() -> None:
        with background_thread() as pool:
            for number in range(3):
                pool.submit(work, number)
            running.wait(5)
            threading.Timer(0.05, let_go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert begun == ended == [0]
