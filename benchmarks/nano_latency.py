"""Milliseconds of each stage of nano: PyTorch eager, unmerged and unfolded, against bundles on backends.

    python benchmarks/nano_latency.py BUNDLE... [--rounds 20] [--backend onnxruntime --backend openvino]

One interleaved run, two minutes for four bundles on two backends. Prints medians; `ratio` is PyTorch's image
to mask divided by the contender's (above 1: faster than PyTorch).
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from harness.interleaved import WHOLE, interleaved, stages_of
from harness.options import BackendsOption, NoteOption, RecordOption, RoundsOption
from harness.record import Run

from glesam.model import GleSam, shipped_checkpoint
from glesam.reference import reference_predictor
from glesam_runtime import Predictor

EAGER = "PyTorch eager fp32"


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE")],
    backend: BackendsOption = None,
    rounds: RoundsOption = 20,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("nano_speed", f"nano, each stage: median of {rounds} interleaved rounds")
    predictors = {EAGER: reference_predictor(GleSam.from_pretrained(shipped_checkpoint()))}
    for path, name in product(bundles, backend or ["auto"]):
        predictor = Predictor.from_bundle(path, name)
        predictors[f"{name} {predictor.manifest.precision}"] = predictor
    times = interleaved({name: stages_of(each) for name, each in predictors.items()}, rounds)
    whole = f"{WHOLE}_ms"
    rows = [
        {"contender": name, **each, "ratio": round(times[EAGER][whole] / each[whole], 2)}
        for name, each in times.items()
    ]
    run.finish(rows, record, note)


if __name__ == "__main__":
    typer.run(main)
