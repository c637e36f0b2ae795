"""Rows of earlier runs on the same prompts, so that baselines need to be computed only once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glesam.evaluation.methods import Method
from glesam.evaluation.prompts import PromptKind, PromptSet
from glesam.evaluation.results import Place, covering, from_csv
from glesam.evaluation.score import Score
from glesam_runtime.errors import ResultsError

PROMPTS, RESULTS = "prompts.json", "results.csv"


def earlier_scores(
    folders: Sequence[Path],
    prompts: PromptSet,
    kind: PromptKind,
    places: Sequence[Place],
    methods: Sequence[Method],
) -> list[Score]:
    """The scores of the runs in `folders` at `places`, to be followed by those of `methods`.

    Raises:
        ResultsError: a run does not fit these prompts and places, or a row would be there twice.
        PromptFileError, OSError: a file of a run cannot be read.
    """
    runs = [scores_of_run(folder, prompts, kind, places) for folder in folders]
    refuse_equal_rows(runs, methods)
    return [score for scores in runs for score in scores]


def scores_of_run(folder: Path, prompts: PromptSet, kind: PromptKind, places: Sequence[Place]) -> list[Score]:
    """The scores of the run in `folder` at `places`; it may have evaluated more than those.

    Raises:
        ResultsError: its objects or prompts are others, or it lacks one of `places`.
        PromptFileError, OSError: its prompts.json cannot be read.
    """
    path = folder / PROMPTS
    theirs = PromptSet.from_json(path.read_bytes().decode("utf-8", "replace"), str(path))
    if not theirs.covers(prompts):
        raise ResultsError(
            f"{folder}: its {PROMPTS} differs from this run's; run that evaluation again with the "
            f"same prompts, or this one with --prompts {path}"
        )
    text = (folder / RESULTS).read_bytes().decode("utf-8", "replace")
    return covering(from_csv(text, kind, str(folder / RESULTS)), places, str(folder / RESULTS))


def refuse_equal_rows(runs: Sequence[Sequence[Score]], methods: Sequence[Method]) -> None:
    """Raises ResultsError where two of the runs, or one and a method, have the same row."""
    rows = [row for scores in runs for row in dict.fromkeys(score.row for score in scores)]
    rows += [method.row for method in methods]
    for row in rows:
        if rows.count(row) > 1:
            raise ResultsError(
                f"{row}: a run given with --join has this row already; "
                "name the source otherwise (NAME=FOLDER), or leave the method out"
            )
