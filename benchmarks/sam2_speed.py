"""Milliseconds of each stage of a GleSAM2: transformers' eager SAM 2 with GLE in PyTorch, against bundles.

    python benchmarks/sam2_speed.py BUNDLE... --checkpoint DIR [--rounds 5]

DIR is the checkpoint that the bundles were made from; `fullsize_export.py --keep` writes both. Every bundle
runs on each backend of this build, one with bf16 on what `auto` picks for its graphs. All contenders are
timed in one interleaved run on two threads: some minutes and about 16 GB for fp32, bf16 and int8 bundles of
tiny.

`encode_ratio` and `ratio` are the eager encoder's and the eager image to mask divided by the contender's
(above 1: faster). `gle_share` is GLE's part of image to mask, which exceeds the encoder's up to base+.
`mask_iou` compares a mask with the eager one, so that no contender is fast by computing something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from fullsize import THREADS, contenders
from harness.eager_sam2 import eager_predictor
from harness.interleaved import WHOLE, interleaved, stages_of
from harness.options import NoteOption, RecordOption, RoundsOption
from harness.record import Run
from harness.table import Row

from glesam.model import GleSam
from glesam_runtime import Predictor
from glesam_runtime.tools.parity import mask_iou

EAGER = "transformers eager fp32"
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", exists=True)],
    checkpoint: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="The bundles' checkpoint.")],
    rounds: RoundsOption = 5,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    torch.set_num_threads(THREADS)
    model = GleSam.from_pretrained(checkpoint)
    sam_type = model.config.sam.sam_type
    run = Run.begin(
        "full_size", f"{sam_type}, transformers eager and bundles: median of {rounds} interleaved rounds"
    )
    predictors = {EAGER: eager_predictor(model)}
    for name in contenders(bundles):
        backend, path = name.split(" ", 1)
        predictors[f"{backend} {Path(path).name}"] = Predictor.from_bundle(path, backend, threads=THREADS)
    masks = {name: one_mask(predictor) for name, predictor in predictors.items()}
    measures = {name: stages_of(predictor) for name, predictor in predictors.items()}
    times = interleaved(measures, rounds, progress=True)
    rows = [
        row(name, times) | {"mask_iou": round(float(mask_iou(masks[name], masks[EAGER])), 4)}
        for name in times
    ]
    run.finish(rows, record, note)


def one_mask(predictor: Predictor) -> Mask:
    """Returns the mask of a box in a picture of noise."""
    predictor.set_image(np.random.default_rng(1).integers(0, 256, (480, 640, 3)).astype(np.uint8))
    mask: Mask = predictor.predict(box=(100, 100, 500, 400)).masks[0]
    return mask


def row(name: str, times: Mapping[str, Mapping[str, float]]) -> Row:
    """Returns a contender's milliseconds, its ratios to the eager one and GLE's share of its time."""
    own, eager, whole = times[name], times[EAGER], f"{WHOLE}_ms"
    return {
        "contender": name,
        **own,
        "encode_ratio": round(eager["encode_ms"] / own["encode_ms"], 2),
        "ratio": round(eager[whole] / own[whole], 2),
        "gle_share": round(own["enhance_ms"] / own[whole], 2),
    }


if __name__ == "__main__":
    typer.run(main)
