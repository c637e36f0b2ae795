"""The contact sheet of a run, its chosen pictures segmented once more."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from glesam.evaluation.choice import Pictures
from glesam.evaluation.contact_sheet import Section, Tile, chosen_cases, contact_sheet
from glesam.evaluation.evaluate import REAL, Task, at_level, mean_metrics
from glesam.evaluation.prompts import ObjectPrompt, PromptedPicture
from glesam.evaluation.results import Results
from glesam.evaluation.table import level_title
from glesam_runtime import Prompt, draw_overlay


def case_sheet(results: Results, pictures: Pictures, task: Task) -> bytes:
    """A PNG of the last method's worst, median and best pictures.

    They are taken at the hardest level, and below those from the real low-quality photographs.
    """
    synthetic = [level for level in results.levels if level != REAL][-1:]
    real = [REAL] if REAL in results.levels else []
    return png(contact_sheet([section(results, level, pictures, task) for level in synthetic + real]))


def section(results: Results, level: str, pictures: Pictures, task: Task) -> Section:
    by_name = {(picture.dataset, picture.name): picture for picture in pictures.prompts.pictures}
    row = task.methods[-1].row
    scores = results.select(row, level)
    tiles = [
        case_tiles(kind, by_name[score.dataset, score.name], level, pictures, task)
        for kind, score in chosen_cases(scores)
    ]
    count = f"{len(scores)} picture{'' if len(scores) == 1 else 's'}"
    return Section(f"{level_title(level)}: worst, median and best of {count} by IoU of {row}", tiles)


def case_tiles(kind: str, picture: PromptedPicture, level: str, pictures: Pictures, task: Task) -> list[Tile]:
    """The input with its prompts, the truth, and what every method makes of it."""
    sample, prompts = pictures.library.read(picture), picture.prompts(task.kind)
    truth, image = picture.truth(sample), at_level(sample, level, task.seed)
    nothing = np.zeros((0, *truth.shape[1:]), bool)
    tiles = [
        Tile(f"{kind}: {picture.title}", draw_overlay(image, nothing, shown(prompts))),
        Tile("truth", draw_overlay(sample.image, truth)),
    ]
    for method in task.methods:
        found = method(image, prompts)
        iou = mean_metrics(found, truth)["iou"]
        tiles.append(Tile(f"{method.row}, IoU {iou:.3f}", draw_overlay(image, found.masks)))
    return tiles


def shown(prompts: Sequence[ObjectPrompt]) -> list[Prompt]:
    """As the runtime's overlay draws them."""
    return [Prompt(box=prompt.box, points=prompt.points) for prompt in prompts]


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
