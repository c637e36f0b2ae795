"""The worst, median and best pictures of a run, segmented once more for its contact sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from glesam.evaluation.contact_sheet import Section, Tile, contact_sheet
from glesam.evaluation.evaluate import Task, at_level, mean_metrics
from glesam.evaluation.prompts import ObjectPrompt, PromptedPicture
from glesam.evaluation.results import Results
from glesam.evaluation.score import REAL, Score
from glesam.evaluation.selection import Pictures
from glesam.evaluation.table import level_title
from glesam_runtime import Prompt, draw_overlay

WORST, MEDIAN, BEST = 3, 2, 2
"""Number of pictures of each kind, where there are as many."""


def case_sheet(results: Results, pictures: Pictures, task: Task) -> bytes:
    """A PNG of the last method's worst, median and best pictures.

    They are chosen at the hardest level, and below those among the real low-quality photographs.
    """
    synthetic = [level for level in results.levels if level != REAL][-1:]
    real = [REAL] if REAL in results.levels else []
    return png(contact_sheet([section(results, level, pictures, task) for level in synthetic + real]))


def section(results: Results, level: str, pictures: Pictures, task: Task) -> Section:
    """The chosen pictures of one level below a title."""
    by_name = {(picture.dataset, picture.name): picture for picture in pictures.prompts.pictures}
    row = task.methods[-1].row
    scores = results.select(row, level)
    tiles = [
        case_tiles(kind, by_name[score.dataset, score.name], level, pictures, task)
        for kind, score in chosen_cases(scores)
    ]
    count = f"{len(scores)} picture{'' if len(scores) == 1 else 's'}"
    return Section(f"{level_title(level)}: worst, median and best of {count} by IoU of {row}", tiles)


def chosen_cases(scores: Sequence[Score]) -> list[tuple[str, Score]]:
    """Chooses ("worst" | "median" | "best", score) by IoU among one row at one level; no picture twice."""
    ordered = sorted(scores, key=lambda score: score.metrics["iou"])
    middle = max(0, (len(ordered) - MEDIAN) // 2)
    cases = [("worst", score) for score in ordered[:WORST]]
    cases += [("median", score) for score in ordered[middle : middle + MEDIAN]]
    cases += [("best", score) for score in ordered[::-1][:BEST]]
    first = {(score.dataset, score.name): (kind, score) for kind, score in reversed(cases)}
    return list(reversed(first.values()))


def case_tiles(kind: str, picture: PromptedPicture, level: str, pictures: Pictures, task: Task) -> list[Tile]:
    """A row of tiles: the input with its prompts, the truth, and every method's masks."""
    sample, prompts = pictures.library.read(picture), picture.prompts(task.kind)
    truth, image = picture.truth(sample), at_level(sample, level, task.seed)
    nothing = np.zeros((0, *truth.shape[1:]), bool)
    tiles = [
        Tile(f"{kind}: {picture.title}", draw_overlay(image, nothing, drawable(prompts))),
        Tile("truth", draw_overlay(sample.image, truth)),
    ]
    for method in task.methods:
        segmentation = method(image, prompts)
        iou = mean_metrics(segmentation, truth)["iou"]
        tiles.append(Tile(f"{method.row}, IoU {iou:.3f}", draw_overlay(image, segmentation.masks)))
    return tiles


def drawable(prompts: Sequence[ObjectPrompt]) -> list[Prompt]:
    """The prompts as the runtime's overlay draws them."""
    return [Prompt(box=prompt.box, points=prompt.points) for prompt in prompts]


def png(picture: Image.Image) -> bytes:
    """`picture` as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
