"""Milliseconds by stage, summed over crops and calls of the decoder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """`timings` maps each stage to its milliseconds so far, in the order they first ran."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    def add(self, timings: Mapping[str, float]) -> None:
        """What another has measured."""
        for stage, ms in timings.items():
            self.timings[stage] = self.timings.get(stage, 0) + ms

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure the body."""
        start = time.perf_counter()
        yield
        self.add({stage: (time.perf_counter() - start) * 1000})
