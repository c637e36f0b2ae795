"""Contenders timed in turn, round by round, so that a busy machine slows all of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from glesam_runtime import Predictor

Figures = Mapping[str, float]
"""What one contender measured in one round, by name: "encode_ms": 12.5."""
STAGES = ("encode", "enhance", "decode")
WHOLE, SECOND = "image_to_mask", "second_prompt"


def interleaved(
    contenders: Mapping[str, Callable[[], Figures]], rounds: int, progress: bool = False
) -> dict[str, dict[str, float]]:
    """Returns the medians of every contender's figures; each round calls each contender once.

    A round before the first one is a warm-up and does not count.
    """
    samples: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            figures = measure()
            for key, value in figures.items() if number else ():
                samples[name][key].append(value)
        if progress:
            print(f"round {number} of {rounds}", flush=True)
    return {
        name: {key: round(median(values), 3) for key, values in each.items()}
        for name, each in samples.items()
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Returns the wall-clock time of a call [ms]."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def stages_of(predictor: Predictor) -> Callable[[], Figures]:
    """Returns a contender: one picture of noise and two boxes through `predictor`, every stage in ms."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)

    def measure() -> Figures:
        def first_mask() -> None:
            predictor.set_image(image)
            predictor.predict(box=(100, 100, 500, 400))

        whole = milliseconds(first_mask)
        stages = {f"{stage}_ms": predictor.timings[stage] for stage in STAGES if stage in predictor.timings}
        second = milliseconds(lambda: predictor.predict(box=(200, 50, 600, 300)))
        return {**stages, f"{WHOLE}_ms": whole, f"{SECOND}_ms": second}

    return measure
