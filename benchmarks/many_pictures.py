"""Pictures per second of glesam-run: reading, segmenting and writing overlapped, or one after the other.

    python benchmarks/many_pictures.py DIR [--pictures 40] [--rounds 5] [--bundle PATH] [--backend NAME]

One interleaved run on the same predictor: every round does all pictures in both ways. Prints medians and
their ratio (above 1: overlapping is faster). The prompt is a point near each picture's top left corner.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from glesam_runtime import Predictor, Prompt
from glesam_runtime.tools.run.job import Job, Segmented, run_job


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    pictures: Annotated[int, typer.Option(metavar="N")] = 40,
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed rounds, after one that is not.")] = 5,
    bundle: Annotated[Path | None, typer.Option(metavar="PATH")] = None,
    backend: Annotated[str, typer.Option(metavar="NAME")] = "auto",
) -> None:
    paths = sorted(folder.rglob("*.jpg"))[:pictures]
    with tempfile.TemporaryDirectory() as out, Predictor.from_bundle(bundle, backend) as predictor:
        job = Job([Prompt(points=[(20, 20)])], Path(out))

        def one_after_the_other() -> None:
            for path in paths:
                assert all(isinstance(each, Segmented) for each in run_job(predictor, [path], job))

        def overlapped() -> None:
            assert all(isinstance(each, Segmented) for each in run_job(predictor, paths, job))

        ways: dict[str, Callable[[], None]] = {"serial": one_after_the_other, "overlapped": overlapped}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if number:
                    times[name].append(time.perf_counter() - start)
    print(f"| {len(paths)} pictures, median of {rounds} | pictures/s | ratio |\n|---|---|---|")
    serial = median(times["serial"])
    for name, each in times.items():
        print(f"| {name} | {len(paths) / median(each):.2f} | {serial / median(each):.2f}x |")


if __name__ == "__main__":
    typer.run(main)
