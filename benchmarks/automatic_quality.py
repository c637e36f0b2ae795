"""How many of the annotated objects automatic masks find, for a table of thresholds.

    python benchmarks/automatic_quality.py DATA [--per-set 4] [--points-per-side 16] [--backend openvino]

DATA is what glesam-train --data takes; its development pictures are used, clean and at LQ-3. Every candidate
is made once, then each pair of thresholds is applied to them. Objects below 400 px do not count. A row has
means over pictures: masks, the objects' best IoU, the share of objects with IoU above .5 and .75, and
`on_an_object`, the share of masks that have IoU above .5 with some annotated object (a right mask may be of
none). Takes 2 to 5 seconds a picture and level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.table import Row
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from glesam.data.datasets import load_datasets
from glesam.evaluation.evaluate import at_level
from glesam.evaluation.selection import Library
from glesam_runtime import AutomaticMask, AutomaticMasks, AutomaticOptions, Predictor
from glesam_runtime.automatic.boxes import suppress, xyxy
from glesam_runtime.automatic.rle import Rle, rle_from_mask

LEVELS = ("clean", "3")
IOU_THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.88)
STABILITY_THRESHOLDS = (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.95)
SMALLEST_OBJECT_PX = 400
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """One picture's N candidates: scores [N], stabilities [N], boxes [N,4], IoU with O objects [N,O]."""

    level: str
    scores: Floats
    stabilities: Floats
    boxes: Floats
    ious: Floats

    def quality(self, iou: float, stability: float) -> tuple[float, ...]:
        """Returns masks, mean best IoU, recall at .5 and .75, share of masks on an object."""
        passed = np.flatnonzero((self.scores > iou) & (self.stabilities >= stability))
        kept = passed[suppress(self.boxes[passed], self.scores[passed], 0.7)]
        ious = self.ious[kept]
        best = ious.max(axis=0, initial=0)
        right = (ious.max(axis=1) > 0.5).mean() if len(kept) else np.nan
        return len(kept), best.mean(), (best > 0.5).mean(), (best > 0.75).mean(), right


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA")],
    bundle: Annotated[str, typer.Option(metavar="PATH", help="Default: the shipped model.")] = "",
    backend: Annotated[str, typer.Option(metavar="NAME")] = "auto",
    per_set: Annotated[int, typer.Option(metavar="N", help="Pictures of each set.")] = 4,
    points_per_side: Annotated[int, typer.Option(metavar="N", help="Points of the grid's side.")] = 16,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("automatic_masks", f"Thresholds, {points_per_side} x {points_per_side} points")
    predictor = Predictor.from_bundle(bundle or None, backend)
    options = AutomaticOptions(points_per_side, 0, 0, box_nms_thresh=1)
    pictures = list(candidates(AutomaticMasks(predictor, options), data, per_set))
    run.finish(quality_rows(pictures), record, note)


def candidates(automatic: AutomaticMasks, data: Path, per_set: int) -> Iterator[Candidates]:
    """Yields every picture's candidates at every level."""
    library = Library(load_datasets(data, split="dev"))
    for dataset, index in library.spread(per_set):
        sample = dataset[index]
        large = [mask for mask in map(np.asarray, sample.masks) if mask.sum() >= SMALLEST_OBJECT_PX]
        objects = [rle_from_mask(mask) for mask in large]
        for level in LEVELS:
            masks = automatic.generate(at_level(sample, level, seed=0))
            print(f"{dataset.name}/{sample.name} {level}: {len(masks)}, {len(objects)} objects", flush=True)
            yield compared(level, masks, objects)


def compared(level: str, masks: list[AutomaticMask], objects: list[Rle]) -> Candidates:
    """Returns the candidates with their IoU with every object."""
    ious = coco_mask.iou([mask.segmentation for mask in masks], objects, [0] * len(objects))
    return Candidates(
        level,
        np.array([mask.predicted_iou for mask in masks]),
        np.array([mask.stability_score for mask in masks]),
        np.array([xyxy(mask.bbox) for mask in masks], np.float64),
        np.asarray(ious).reshape(len(masks), len(objects)),
    )


def quality_rows(pictures: list[Candidates]) -> list[Row]:
    """Returns a row for each pair of thresholds and level: means over the pictures."""
    rows: list[Row] = []
    for iou, stability, level in product(IOU_THRESHOLDS, STABILITY_THRESHOLDS, LEVELS):
        qualities = [each.quality(iou, stability) for each in pictures if each.level == level]
        masks, *shares = np.ma.masked_invalid(qualities).mean(axis=0)  # without masks, none is right or wrong
        names = ("best_iou", "above_.5", "above_.75", "on_an_object")
        figures = {
            name: None if np.ma.is_masked(s) else round(float(s), 3)
            for name, s in zip(names, shares, strict=True)
        }
        rows.append(
            {
                "predicted_iou": iou,
                "stability": stability,
                "level": level,
                "masks": round(float(masks), 1),
                **figures,
            }
        )
    return rows


if __name__ == "__main__":
    typer.run(main)
