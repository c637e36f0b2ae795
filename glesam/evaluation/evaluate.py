"""Pictures x levels x methods -> scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glesam.data.sample import Sample
from glesam.evaluation.methods import Candidates, Image, Method, Segmentation
from glesam.evaluation.metrics import METRICS, MULTIMASK_METRICS, multimask_ious
from glesam.evaluation.prompts import PromptedPicture, PromptKind
from glesam.evaluation.score import REAL, Score, Skipped
from glesam_runtime.degradation.lqseg import degrade_level
from glesam_runtime.errors import GlesamError, first_line


@dataclass(frozen=True)
class Task:
    """What is done with every picture.

    `seed` fixes the degradation of each picture and level. Pictures of the data sets named in `real` are
    evaluated at the level `REAL` only.
    """

    methods: Sequence[Method]
    levels: Sequence[str]
    kind: PromptKind
    seed: int
    real: frozenset[str] = frozenset()

    def levels_of(self, dataset: str) -> Sequence[str]:
        return (REAL,) if dataset in self.real else self.levels


def evaluate(
    pictures: Sequence[PromptedPicture], read: Callable[[PromptedPicture], Sample], task: Task, jobs: int = 1
) -> Iterator[list[Score] | Skipped]:
    """Yields each picture's scores in order, whatever the number of threads `jobs`.

    A picture that one method cannot segment is skipped for all, so that all rows are means over the same
    pictures.
    """

    def one(picture: PromptedPicture) -> list[Score] | Skipped:
        try:
            return evaluate_picture(picture, read(picture), task)
        except (GlesamError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: torch out of memory
            return Skipped(picture.title, first_line(error))

    executor = ThreadPoolExecutor(jobs)
    try:
        yield from executor.map(one, pictures)
    finally:
        executor.shutdown(cancel_futures=True)  # an interrupted run does not work off what is left


def evaluate_picture(picture: PromptedPicture, sample: Sample, task: Task) -> list[Score]:
    """Scores of every level and method on one picture."""
    truth, prompts = picture.truth(sample), picture.prompts(task.kind)
    scores = []
    for level in task.levels_of(picture.dataset):
        image = at_level(sample, level, task.seed)
        for method in task.methods:
            segmentation = method(image, prompts)
            values = mean_metrics(segmentation, truth)
            place = picture.dataset, picture.name, level, method.row
            scores.append(Score(*place, len(truth), segmentation.fallbacks, values))
    return scores


def at_level(sample: Sample, level: str, seed: int) -> Image:
    """The picture as it is ("clean", "real"), or degraded: the same for the same level, seed and name."""
    if level in ("clean", REAL):
        return sample.image
    return degrade_level(sample.image, int(level), seed, f"{sample.dataset}/{sample.name}")


def mean_metrics(segmentation: Segmentation, truth: NDArray[np.bool_]) -> dict[str, float]:
    """Each metric's mean over the objects; `truth` bool [N,H,W]."""
    pairs = list(zip(segmentation.masks, truth, strict=True))
    means = {name: float(np.mean([metric(*pair) for pair in pairs])) for name, metric in METRICS.items()}
    return means | (_multimask_means(segmentation.candidates, truth) if segmentation.candidates else {})


def _multimask_means(candidates: Candidates, truth: NDArray[np.bool_]) -> dict[str, float]:
    objects = zip(candidates.masks, candidates.iou_predictions, truth, strict=True)
    ious = [multimask_ious(*one) for one in objects]
    return {name: float(np.mean([one[name] for one in ious])) for name in MULTIMASK_METRICS}
