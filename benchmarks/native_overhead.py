"""Milliseconds of the C++ library's predict beside the decoder's own call, for three sizes of a picture.

    make cpp && python benchmarks/native_overhead.py [BUNDLE] [--program FILE]

Runs native_overhead.cpp and records what it prints: prompts, candidates, the check for NaN, and masks
upscaled to the picture and thresholded. `upscaling` is a part of `overhead`. Medians of 60 rounds.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam_runtime import Bundle

PROGRAM = Path("build/release/benchmarks/native_overhead")
LINE = re.compile(
    r"\s*(\d+) x (\d+)\s+engine\s+([\d.]+) ms\s+overhead\s+([\d.]+) ms, of it mask upscaling\s+([\d.]+) ms"
)


def main(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", show_default=False)] = None,
    program: Annotated[Path, typer.Option(metavar="FILE", exists=True, help="The built program.")] = PROGRAM,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("cpp", "predict beside the decoder's own call, one box: median of 60")
    folder = Bundle.open(bundle).root
    done = subprocess.run([program, folder], check=True, stdout=subprocess.PIPE, text=True)
    run.finish([figures(line) for line in done.stdout.splitlines()], record, note)


def figures(line: str) -> Row:
    """Returns the row of a printed line."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(
            f"expected a line of native_overhead.cpp, found {line!r}; build it again with make cpp"
        )
    width, height, engine, overhead, upscaling = match.groups()
    milliseconds = {
        "engine_call_ms": float(engine),
        "overhead_ms": float(overhead),
        "upscaling_ms": float(upscaling),
    }
    return {"picture": f"{width} x {height}", **milliseconds}


if __name__ == "__main__":
    typer.run(main)
