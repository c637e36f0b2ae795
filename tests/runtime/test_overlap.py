"""Work in another thread: its order, its bounds, its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from glesam_runtime.tools.run.overlap import ahead


def test_results_come_in_order_however_long_each_takes() -> None:
    def slow_if_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return number

    with ahead(map(slow_if_even, range(7)), 3) as results:
        assert list(results) == list(range(7))


@pytest.mark.parametrize("depth", [1, 2])
def test_no_more_items_are_taken_than_the_depth_allows(depth: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    with ahead(items(), depth) as results:
        for done, _ in enumerate(results):
            time.sleep(0.01)  # as much as the thread may do meanwhile, it does
            assert len(taken) <= done + 1 + depth
    assert len(taken) == 9


def test_an_item_is_there_while_the_next_one_is_not_yet() -> None:
    """A camera's frame must not wait for the one after it."""
    comes = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert comes.wait(5)
        yield 1

    with ahead(items()) as results:
        assert next(results) == 0
        comes.set()
        assert next(results) == 1


def test_the_next_item_starts_while_the_caller_works() -> None:
    begun = threading.Event()

    def note(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    with ahead(map(note, range(2))) as results:
        assert next(results) == 0
        assert begun.wait(5)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_reaches_the_caller_at_its_place(error: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise error

    with ahead(items(), 2) as outer, ahead(outer) as results:
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(error):
            next(results)


def test_leaving_early_finishes_the_current_item_and_drops_the_rest() -> None:
    begun, ended = [], []
    running, let_go = threading.Event(), threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            running.set()
            let_go.wait(5)
        ended.append(number)
        return number

    def leave() -> None:
        with ahead(map(work, range(9)), 3) as results:
            next(results)
            running.wait(5)
            threading.Timer(0.05, let_go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert begun == ended == [0, 1]
