"""Milliseconds of each stage: PyTorch eager, unmerged and unfolded, against exported bundles on backends.

    python benchmarks/nano_latency.py BUNDLE... [--rounds 20] [--backend onnxruntime --backend openvino]

One interleaved run: every round times every contender once, so that a busy machine slows all of them.
Prints medians and, in brackets, the ratio to PyTorch (above 1: faster).
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from interleaved import STAGES, WHOLE, interleaved

from glesam.model import GleSam, shipped_checkpoint
from glesam.reference import reference_predictor
from glesam_runtime import Predictor


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
    times = interleaved(contenders, rounds)
    columns = (*STAGES, WHOLE)
    print(f"| ms, median of {rounds} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in contenders:
        cells = []
        for stage in columns:
            own, base = times[name, stage], times["PyTorch eager fp32", stage]
            cells.append(f"{own:.1f} ({base / own:.2f}x)")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
