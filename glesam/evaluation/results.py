"""Scores as results.csv, and their means.

One line per picture, level and row of the table:
dataset, picture, prompt, level, source, method, objects, fallbacks, iou, dice, boundary_iou, pixel_accuracy,
best_of_three, chosen

The last two are empty for a method without multimask. Files without these two columns are still read.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glesam.evaluation.metrics import METRICS, MULTIMASK_METRICS
from glesam.evaluation.prompts import PromptKind
from glesam.evaluation.score import LEVELS, REAL, RowName, Score
from glesam_runtime.errors import InputError, ResultsError

COLUMNS_BEFORE_MULTIMASK = (
    *("dataset", "picture", "prompt", "level", "source", "method", "objects", "fallbacks"),
    *METRICS,
)
COLUMNS = (*COLUMNS_BEFORE_MULTIMASK, *MULTIMASK_METRICS)

Place = tuple[str, str, str]
"""Data set, picture and level of a score."""


@dataclass(frozen=True)
class Results:
    """Scores in the order of evaluation, which is also the order of data sets and rows."""

    scores: tuple[Score, ...]

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(score.dataset for score in self.scores))

    @property
    def rows(self) -> list[RowName]:
        return list(dict.fromkeys(row for row, _ in self._by_row_and_level))

    @property
    def levels(self) -> list[str]:
        """Levels from clean to the hardest, then real."""
        present = {level for _, level in self._by_row_and_level}
        return [level for level in (*LEVELS, REAL) if level in present]

    def of(self, dataset: str) -> Results:
        """The results of one data set."""
        return Results(tuple(score for score in self.scores if score.dataset == dataset))

    def select(self, row: RowName, level: str) -> list[Score]:
        """Scores of one row at one level."""
        return self._by_row_and_level.get((row, level), [])

    def pictures(self, level: str) -> int:
        """Number of pictures evaluated at `level`, the same for every row."""
        return len(self.select(self.rows[0], level))

    def measured(self, metric: str, row: RowName) -> bool:
        """Whether a row has the metric for all its pictures, which multimask's may lack."""
        return all(metric in score.metrics for score in self.scores if score.row == row)

    def mean(self, metric: str, row: RowName, level: str) -> float:
        """Mean over pictures; each picture's score is a mean over its objects."""
        return float(np.mean([score.metrics[metric] for score in self.select(row, level)]))

    def fallbacks(self, row: RowName) -> tuple[int, int]:
        """Number of a row's masks that are not its own work, and of all its masks."""
        own = [score for score in self.scores if score.row == row]
        return sum(score.fallbacks for score in own), sum(score.objects for score in own)

    @cached_property
    def _by_row_and_level(self) -> dict[tuple[RowName, str], list[Score]]:
        grouped = defaultdict(list)
        for score in self.scores:
            grouped[score.row, score.level].append(score)
        return dict(grouped)


def to_csv(scores: Iterable[Score], kind: PromptKind) -> str:
    """CSV with six decimals per metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in scores:
        row = s.row.source, s.row.method, s.objects, s.fallbacks
        metrics = (s.metrics.get(metric) for metric in (*METRICS, *MULTIMASK_METRICS))
        numbers = ("" if value is None else f"{value:.6f}" for value in metrics)
        writer.writerow((s.dataset, s.name, kind, s.level, *row, *numbers))
    return text.getvalue()


def from_csv(text: str, kind: PromptKind, source: str) -> list[Score]:
    """Inverse of `to_csv`. Raises ResultsError, naming `source`, for other text or other prompts."""
    lines = csv.DictReader(io.StringIO(text))
    try:
        if tuple(lines.fieldnames or ()) not in (COLUMNS, COLUMNS_BEFORE_MULTIMASK):
            raise InputError(f"columns {lines.fieldnames}")
        return [_score(line, kind) for line in lines]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ResultsError(
            f"{source}: expected the results.csv of a glesam-eval run with {kind} prompts ({error}); "
            "run that evaluation again"
        ) from error


def covering(scores: Iterable[Score], places: Sequence[Place], source: str) -> list[Score]:
    """Returns the scores that belong to `places`.

    Raises ResultsError where one is missing: means over different pictures must not share a table.
    """
    wanted = set(places)
    kept = [s for s in scores if (s.dataset, s.name, s.level) in wanted]
    for row in dict.fromkeys(s.row for s in kept) or (RowName("", "no row"),):
        missing = wanted - {(s.dataset, s.name, s.level) for s in kept if s.row == row}
        if missing:
            dataset, name, level = min(missing)
            raise ResultsError(
                f"{source}: {row} has no score for {dataset}/{name} at level {level}; "
                "run that evaluation again with the same --prompts, --level and --real"
            )
    return kept


def _score(line: dict[str, str], kind: PromptKind) -> Score:
    if line["prompt"] != kind:
        raise InputError(f"found {line['prompt']} prompts")
    row = RowName(line["source"], line["method"])
    multimask = [metric for metric in MULTIMASK_METRICS if line.get(metric, "") != ""]
    metrics = {metric: _share(line[metric]) for metric in (*METRICS, *multimask)}
    place = line["dataset"], line["picture"], line["level"], row
    return Score(*place, int(line["objects"]), int(line["fallbacks"]), metrics)


def _share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise InputError(f"found {text} where a number in [0, 1] should be")
    return value
