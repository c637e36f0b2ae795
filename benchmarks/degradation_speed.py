"""Processor time that LQSeg takes to degrade a picture, by level and as training draws it.

    python benchmarks/degradation_speed.py [--rounds 40] [--size 512]

CPU time of one thread, so that a busy machine does not count; every round does every level once. A training
step that takes longer than its pictures' milliseconds, divided by the workers, does not wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import mean
from typing import Annotated

import cv2
import numpy as np
import typer
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.scenes import textured_picture

from glesam_runtime.degradation.lqseg import LEVEL_RATES, TRAINING_RATES, degrade


def main(
    rounds: Annotated[int, typer.Option(metavar="N", help="Pictures, each degraded in every way.")] = 40,
    size: Annotated[int, typer.Option(metavar="PX", help="Width and height of a picture.")] = 512,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("training", f"Degrading a picture of {size} px on one thread: mean of {rounds}")
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    degrade(textured_picture(size, rng), LEVEL_RATES[1], rng)  # a first call loads OpenCV's and SciPy's code
    times: dict[str, list[float]] = {f"LQ-{level}": [] for level in LEVEL_RATES} | {"training": []}
    for _ in range(rounds):
        image = textured_picture(size, rng)
        rates = {f"LQ-{level}": rate for level, rate in LEVEL_RATES.items()}
        rates["training"] = int(rng.choice(TRAINING_RATES))
        for name, rate in rates.items():
            times[name].append(cpu_ms(lambda r=rate, i=image: degrade(i, r, rng)))
    rows = [
        {"level": name, "cpu_ms": round(mean(each), 1), "pictures_per_second": round(1000 / mean(each), 1)}
        for name, each in times.items()
    ]
    run.finish(rows, record, note)


def cpu_ms(work: Callable[[], object]) -> float:
    """Returns the processor time of this thread during a call [ms]."""
    before = time.thread_time()
    work()
    return 1000 * (time.thread_time() - before)


if __name__ == "__main__":
    typer.run(main)
