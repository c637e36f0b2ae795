"""Pictures per second and thread that LQSeg degrades, and what a training batch costs beside it.

    python benchmarks/degradation_speed.py [--rounds 40] [--size 512]

CPU time of one thread, so that a busy machine does not count; every round does every level once. A training
step that takes longer than its pictures' milliseconds, divided by the workers, is not starved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import mean
from typing import Annotated

import cv2
import numpy as np
import typer
from scenes import random_scene

from glesam_runtime.degradation.lqseg import LEVEL_RATES, TRAINING_RATES, degrade


def picture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured shapes with the grain of a photograph, uint8 [S, S, 3]."""
    colours = rng.integers(0, 256, (256, 3), np.uint8)
    grain = rng.normal(0, 12, (size, size, 3))
    blurred = cv2.GaussianBlur(colours[random_scene(size, rng)].astype(np.float32) + grain, (0, 0), 1)
    return np.clip(blurred, 0, 255).astype(np.uint8)


def cpu_ms(work: Callable[[], object]) -> float:
    before = time.thread_time()
    work()
    return 1000 * (time.thread_time() - before)


def main(
    rounds: Annotated[int, typer.Option(metavar="N")] = 40,
    size: Annotated[int, typer.Option(metavar="PX")] = 512,
) -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {f"LQ-{level}": [] for level in LEVEL_RATES} | {"training": []}
    for _ in range(rounds):
        image = picture(size, rng)
        rates = {f"LQ-{level}": rate for level, rate in LEVEL_RATES.items()}
        rates["training"] = int(rng.choice(TRAINING_RATES))
        for name, rate in rates.items():
            times[name].append(cpu_ms(lambda r=rate, i=image: degrade(i, r, rng)))
    print(f"| {size} px, mean of {rounds} | CPU ms a picture | pictures/s and thread |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {mean(found):.0f} | {1000 / mean(found):.1f} |")


if __name__ == "__main__":
    typer.run(main)
