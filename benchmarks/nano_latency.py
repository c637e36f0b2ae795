"""Milliseconds of each stage: PyTorch eager, unmerged and unfolded, against exported bundles.

    python benchmarks/nano_latency.py BUNDLE... [--rounds 20] [--backend onnxruntime --backend openvino]

One interleaved run: every round times every contender once, so that a busy machine slows all of them.
Prints medians and, in brackets, the ratio to PyTorch (above 1: faster).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from glesam.model import GleSam, shipped_checkpoint
from glesam_export.reference import reference_predictor
from glesam_runtime import Predictor

STAGES = ("encode", "enhance", "decode")


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE")],
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Each bundle with each of these. Repeatable. Default: auto."),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed rounds, after one that is not.")] = 20,
) -> None:
    eager = reference_predictor(GleSam.from_pretrained(shipped_checkpoint()))
    contenders = {"PyTorch eager fp32": eager}
    for path, name in product(bundles, backend or ["auto"]):
        contenders[f"{name} {path.name}"] = Predictor.from_bundle(path, name)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_number in range(rounds + 1):
        for name, predictor in contenders.items():
            predictor.set_image(image)
            predictor.predict(box=(100, 100, 500, 400))
            for stage in STAGES if round_number else ():
                times[name, stage].append(predictor.timings[stage])
    print(f"| ms, median of {rounds} | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}")
    for name in contenders:
        cells = []
        for stage in STAGES:
            own, base = median(times[name, stage]), median(times["PyTorch eager fp32", stage])
            cells.append(f"{own:.1f} ({base / own:.2f}x)")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
