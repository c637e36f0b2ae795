"""Pictures per second of glesam-run: reading, segmenting and writing overlapped, or one after the other.

    python benchmarks/many_pictures.py DIR [--pictures 40] [--rounds 5] [--bundle PATH] [--backend NAME]

One interleaved run on the same predictor: every round does all pictures in both ways. Prints medians;
`ratio` is the serial time divided by the other (above 1: overlapping is faster). The prompt is a point near
each picture's top left corner. 40 pictures take 10 to 20 seconds a round and way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from harness.interleaved import Figures, interleaved, milliseconds
from harness.options import NoteOption, RecordOption, RoundsOption
from harness.record import Run

from glesam_runtime import Predictor, Prompt
from glesam_runtime.tools.run.job import Job, Segmented, run_job

SERIAL, OVERLAPPED = "one after the other", "overlapped"


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="JPEG files, also in folders below.")],
    pictures: Annotated[int, typer.Option(metavar="N", help="How many of them.")] = 40,
    rounds: RoundsOption = 5,
    bundle: Annotated[Path | None, typer.Option(metavar="PATH", help="Default: the shipped nano.")] = None,
    backend: Annotated[str, typer.Option(metavar="NAME")] = "auto",
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    paths = sorted(folder.rglob("*.jpg"))[:pictures]
    run = Run.begin(
        "nano_speed", f"{len(paths)} pictures, read and written: median of {rounds} interleaved rounds"
    )
    with tempfile.TemporaryDirectory() as out, Predictor.from_bundle(bundle, backend) as predictor:
        job = Job([Prompt(points=[(20, 20)])], Path(out))
        ways = {
            SERIAL: timed(lambda: [each for path in paths for each in run_job(predictor, [path], job)]),
            OVERLAPPED: timed(lambda: list(run_job(predictor, paths, job))),
        }
        times = interleaved(ways, rounds)
    serial = times[SERIAL]["ms"]
    rows = [
        {
            "way": way,
            "pictures_per_second": round(1000 * len(paths) / each["ms"], 2),
            "ratio": round(serial / each["ms"], 2),
        }
        for way, each in times.items()
    ]
    run.finish(rows, record, note)


def timed(work: Callable[[], list[object]]) -> Callable[[], Figures]:
    """Returns a contender that does `work` and checks that no picture failed."""

    def measure() -> Figures:
        results: list[object] = []
        spent = milliseconds(lambda: results.extend(work()))
        assert all(isinstance(each, Segmented) for each in results)
        return {"ms": spent}

    return measure


if __name__ == "__main__":
    typer.run(main)
