"""Seconds of automatic masks on one picture, by stage, for several sizes of a decoder's batch.

    python benchmarks/automatic_speed.py PICTURE [--backend onnxruntime --backend openvino]

One interleaved run; prints medians. `ratio` is the decoder's time of the first row divided by the row's
(above 1: faster). A point of nano's takes 3 to 20 ms, so the default grid of 12 x 12 takes 1 to 3 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness.interleaved import Figures, interleaved
from harness.options import BackendsOption, NoteOption, RecordOption, RoundsOption
from harness.record import Run

from glesam_runtime import AutomaticMasks, AutomaticOptions, Predictor, read_image
from glesam_runtime.automatic.grid import prompts_per_call

MEMORY_MIB = (1, 50, 100, 200, 400, 800)


def main(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE")],
    backend: BackendsOption = None,
    points_per_side: Annotated[int, typer.Option(metavar="N", help="Points of the grid's side.")] = 12,
    memory_mib: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Repeatable. Default: 1 to 64 prompts of nano.")
    ] = None,
    rounds: RoundsOption = 3,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    image = read_image(picture)
    height, width = image.shape[:2]
    grid = f"{width} x {height} pixels, {points_per_side} x {points_per_side} points"
    run = Run.begin("automatic_masks", f"Seconds by stage, {grid}: median of {rounds} interleaved rounds")
    predictors = {name: Predictor.from_bundle(None, name) for name in backend or ["auto"]}
    chosen = dict(enumerate(product(predictors, memory_mib or MEMORY_MIB)))
    contenders = {}
    for number, (name, mib) in chosen.items():
        automatic = automatic_masks(predictors[name], points_per_side, mib)
        contenders[str(number)] = stages_of_automatic(automatic, image)
    times = interleaved(contenders, rounds)
    rows = []
    for number, (name, mib) in chosen.items():
        calls = {
            "backend": name,
            "prompts_per_call": prompts_per_call(predictors[name].manifest.image_size, mib),
        }
        seconds = {key: round(value, 2) for key, value in times[str(number)].items()}
        decode = seconds["decode_s"]
        per_point = {"point_ms": round(1000 * decode / points_per_side**2, 2)}
        rows.append({**calls, **seconds, **per_point, "ratio": round(times["0"]["decode_s"] / decode, 2)})
    run.finish(rows, record, note)


def automatic_masks(predictor: Predictor, points_per_side: int, memory_mib: int) -> AutomaticMasks:
    sam_type = predictor.manifest.sam_type
    options = AutomaticOptions.for_model(sam_type, points_per_side=points_per_side, memory_mib=memory_mib)
    return AutomaticMasks(predictor, options)


def stages_of_automatic(automatic: AutomaticMasks, image: np.ndarray) -> Callable[[], Figures]:
    """Returns a contender: all masks of a picture, every stage in seconds."""

    def measure() -> Figures:
        automatic.generate(image)
        ms = automatic.timings
        return {
            "encode_and_enhance_s": (ms["encode"] + ms["enhance"]) / 1000,
            "decode_s": ms["decode"] / 1000,
            "postprocess_s": ms["postprocess"] / 1000,
        }

    return measure


if __name__ == "__main__":
    typer.run(main)
