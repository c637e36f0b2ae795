"""Where nano's logits are best cut: the masks' IoU at several thresholds, and after one more decoder pass.

    python benchmarks/mask_threshold.py DATA [--split dev] [--pictures 12]

DATA is what glesam-train --data takes. Its development pictures, which no training saw, are segmented with
each object's box and with its innermost point. With "refined" a mask is once more given to the decoder as
mask input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness.evaluated import COLUMN
from harness.options import NoteOption, PicturesOption, RecordOption
from harness.record import Run
from harness.table import Row
from numpy.typing import NDArray

from glesam.data.datasets import Split
from glesam.evaluation.evaluate import at_level
from glesam.evaluation.log import Log
from glesam.evaluation.metrics import METRICS
from glesam.evaluation.prompts import PromptKind
from glesam.evaluation.selection import Selection, select_pictures
from glesam_runtime import Predictor, Prompt
from glesam_runtime.preprocess import Floats
from glesam_runtime.tools.progress import track

KINDS: tuple[PromptKind, ...] = ("box", "innermost")
LEVELS = ("clean", "3")
THRESHOLDS = (0.0, -0.15, -0.25, -0.35, -0.5, -0.75)
SHOWN = ("iou", "boundary_iou")


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA")],
    bundle: Annotated[str, typer.Option(metavar="PATH", help="Default: the shipped model.")] = "",
    backend: Annotated[str, typer.Option(metavar="NAME")] = "auto",
    split: Annotated[Split, typer.Option(help="Pictures of DATA.")] = "dev",
    pictures: PicturesOption = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("nano_quality", f"Thresholds of nano's logits, {split} pictures of {data.name}")
    predictor = Predictor.from_bundle(bundle or None, backend)
    values: dict[tuple[str, bool, float], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row, column, value in measured(predictor, Selection(data, split=split, per_set=pictures)):
        values[row][column].append(value)
    rows: list[Row] = [
        {
            "prompt": kind,
            "refined": refined,
            "threshold": threshold,
            **{column: round(float(np.mean(each)), 4) for column, each in columns.items()},
        }
        for (kind, refined, threshold), columns in sorted(values.items(), key=lambda item: item[0][:2])
    ]
    run.finish(rows, record, note)


def measured(
    predictor: Predictor, selection: Selection
) -> Iterator[tuple[tuple[PromptKind, bool, float], str, float]]:
    """Yields a metric's mean over a picture's objects with its row and column."""
    chosen = select_pictures(selection, Log(print))
    for picture in track(chosen.prompts.pictures, len(chosen.prompts.pictures), "pictures"):
        sample = chosen.library.read(picture)
        truth = picture.truth(sample)
        for level in LEVELS:
            predictor.set_image(at_level(sample, level, chosen.prompts.seed))
            for kind in KINDS:
                prompts = [Prompt(box=each.box, points=each.points) for each in picture.prompts(kind)]
                for refined, logits in enumerate(passes(predictor, prompts)):
                    for threshold in THRESHOLDS:
                        masks = predictor.mask_resizer.masks(logits, threshold)
                        for metric, value in means(masks, truth).items():
                            yield (kind, bool(refined), threshold), f"{COLUMN[level]}_{metric}", value


def passes(predictor: Predictor, prompts: list[Prompt]) -> Iterator[Floats]:
    """Yields logits [N,S/4,S/4] of the first and of the second pass."""
    logits, _ = predictor.decode(prompts)
    yield logits
    again = [replace(prompt, mask_input=mask) for prompt, mask in zip(prompts, logits, strict=True)]
    yield predictor.decode(again)[0]


def means(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    pairs = list(zip(masks, truth, strict=True))
    return {name: float(np.mean([METRICS[name](*pair) for pair in pairs])) for name in SHOWN}


if __name__ == "__main__":
    typer.run(main)
