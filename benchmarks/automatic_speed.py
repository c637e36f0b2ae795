"""Seconds of automatic masks on one picture, by stage, for several sizes of a decoder's batch.

    python benchmarks/automatic_speed.py PICTURE [--backend onnxruntime --backend openvino]

One interleaved run: every round times every contender once, so that a busy machine slows all of them.
Prints medians.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from glesam_runtime import AutomaticMasks, AutomaticOptions, Predictor, read_image
from glesam_runtime.automatic.grid import prompts_per_call

MEMORY_MIB = (1, 50, 100, 200, 400, 800)


def main(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE")],
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Repeatable. Default: auto.")
    ] = None,
    points_per_side: Annotated[int, typer.Option(metavar="N", help="The grid's.")] = 12,
    memory_mib: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Repeatable. Default: 1 to 64 prompts of nano.")
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed rounds.")] = 3,
) -> None:
    image = read_image(picture)
    predictors = {name: Predictor.from_bundle(None, name) for name in backend or ["auto"]}
    for predictor in predictors.values():  # warm: a first run allocates
        AutomaticMasks(predictor, _options(predictor, 2, 512)).generate(image)
    contenders = list(product(predictors, memory_mib or MEMORY_MIB))
    times: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, mib in contenders:
            automatic = AutomaticMasks(predictors[name], _options(predictors[name], points_per_side, mib))
            automatic.generate(image)
            times[name, mib].append(automatic.timings)
    print("| backend | prompts per call | encode, enhance [s] | decode [s] | prompt [ms] | postprocess [s] |")
    print("|---|---|---|---|---|---|")
    for name, mib in contenders:
        prompts = prompts_per_call(predictors[name].manifest.image_size, mib)
        s = {stage: median(run[stage] for run in times[name, mib]) / 1000 for stage in times[name, mib][0]}
        numbers = [s["encode"] + s["enhance"], s["decode"], s["decode"] / points_per_side**2 * 1000]
        cells = " | ".join(f"{number:.2f}" for number in [*numbers, s["postprocess"]])
        print(f"| {name} | {prompts} | {cells} |", flush=True)


def _options(predictor: Predictor, points_per_side: int, memory_mib: int) -> AutomaticOptions:
    return AutomaticOptions.for_model(
        predictor.manifest.sam_type, points_per_side=points_per_side, memory_mib=memory_mib
    )


if __name__ == "__main__":
    typer.run(main)
