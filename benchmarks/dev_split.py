"""Mask IoU of a bundle on the development split: with GLE, without, and the filled box.

    python benchmarks/dev_split.py --data DIR [--bundle PATH] [--per-set 60] [--levels clean,3]

Box prompts (the object's own box), at most five objects a picture, mean over a picture's objects, then
over pictures. Degradation is fixed per picture and level. Prints one table, in Markdown.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from glesam.data.degradation import LEVEL_RATES, degrade
from glesam.data.label_maps import TRAIN_SETS, Sample, load_samples, mask_box, objects
from glesam_runtime import Predictor, Prompt

Masks = NDArray[np.bool_]
MAX_OBJECTS = 5


def main(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Holds a folder per set.")],
    bundle: Annotated[Path | None, typer.Option(metavar="PATH", help="Default: the shipped one.")] = None,
    per_set: Annotated[int, typer.Option(metavar="N", help="Pictures per set, evenly spread.")] = 60,
    levels: Annotated[str, typer.Option(metavar="LIST", help="Of clean, 1, 2, 3.")] = "clean,3",
) -> None:
    with Predictor.from_bundle(bundle, enhance=False) as sam, Predictor.from_bundle(bundle) as glesam:
        methods = {"box filled": fill_boxes, "SAM part alone": segment(sam), "with GLE": segment(glesam)}
        scores: dict[tuple[str, str], list[float]] = defaultdict(list)
        by_set: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        samples = list(spread(data, per_set))
        for sample in track(samples, "pictures"):
            truth = np.stack(objects(sample.labels, sample.description.ignored_labels)[:MAX_OBJECTS])
            for level in levels.split(","):
                image = degraded(sample, level)
                for method, predict in methods.items():
                    iou = mean_iou(predict(image, truth), truth)
                    scores[method, level].append(iou)
                    by_set[sample.description.name, method, level].append(iou)
    print_table(f"{len(samples)} pictures", methods, levels.split(","), scores)
    for description in TRAIN_SETS:
        name = description.name
        chosen = {(m, v): by_set[name, m, v] for m in methods for v in levels.split(",")}
        print_table(f"{name} ({len(next(iter(chosen.values())))})", methods, levels.split(","), chosen)


def spread(data: Path, per_set: int) -> Iterator[Sample]:
    """Evenly spaced pictures of each set's development split that hold an object."""
    for description in TRAIN_SETS:
        samples = [
            sample
            for sample in load_samples(data, (description,), dev=True)
            if objects(sample.labels, description.ignored_labels)
        ]
        chosen = np.linspace(0, len(samples) - 1, min(per_set, len(samples))).round().astype(int)
        yield from (samples[i] for i in chosen)


def degraded(sample: Sample, level: str) -> NDArray[np.uint8]:
    if level == "clean":
        return sample.image
    seed = zlib.crc32(f"{sample.description.name}/{sample.stem}/{level}".encode())
    return degrade(sample.image, LEVEL_RATES[int(level)], np.random.default_rng(seed))


def segment(predictor: Predictor) -> Callable[[NDArray[np.uint8], Masks], Masks]:
    def predict(image: NDArray[np.uint8], truth: Masks) -> Masks:
        predictor.set_image(image)
        return predictor.predict(prompts=[Prompt(box=mask_box(mask)) for mask in truth]).masks

    return predict


def fill_boxes(image: NDArray[np.uint8], truth: Masks) -> Masks:
    filled = np.zeros_like(truth)
    for mask, target in zip(truth, filled, strict=True):
        x0, y0, x1, y1 = mask_box(mask)
        target[y0:y1, x0:x1] = True
    return filled


def mean_iou(found: Masks, truth: Masks) -> float:
    intersection = (found & truth).sum((1, 2))
    return float((intersection / (found | truth).sum((1, 2))).mean())


def print_table(
    title: str, methods: dict[str, object], levels: list[str], scores: dict[tuple[str, str], list[float]]
) -> None:
    names = ["clean" if level == "clean" else f"LQ-{level}" for level in levels]
    print(f"\n| {title} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for method in methods:
        cells = " | ".join(f"{np.mean(scores[method, level]):.4f}" for level in levels)
        print(f"| {method} | {cells} |")


if __name__ == "__main__":
    typer.run(main)
