"""Several predictors timed on the same picture in turn, so that a busy machine slows all of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

import numpy as np

from glesam_runtime import Predictor

STAGES = ("encode", "enhance", "decode")
WHOLE, SECOND = "image to mask", "second prompt"
Times = dict[tuple[str, str], float]


def interleaved(contenders: Mapping[str, Predictor], rounds: int, progress: bool = False) -> Times:
    """Median milliseconds by contender and stage, `WHOLE` and `SECOND`; the first round does not count."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_number in range(rounds + 1):
        for name, predictor in contenders.items():
            start = time.perf_counter()
            predictor.set_image(image)
            predictor.predict(box=(100, 100, 500, 400))
            first = time.perf_counter()
            found = dict(predictor.timings) | {WHOLE: (first - start) * 1000}
            predictor.predict(box=(200, 50, 600, 300))
            found[SECOND] = (time.perf_counter() - first) * 1000
            for stage, ms in found.items() if round_number else ():
                times[name, stage].append(ms)
        if progress:
            print(f"round {round_number} of {rounds}", flush=True)
    return {key: median(values) for key, values in times.items()}
