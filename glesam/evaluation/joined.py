"""Rows of earlier runs that asked the same: baselines need to be computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glesam.evaluation.evaluate import Score
from glesam.evaluation.methods import Method
from glesam.evaluation.prompts import PromptKind, PromptSet
from glesam.evaluation.results import Place, covering, from_csv
from glesam_runtime.errors import ResultsError

PROMPTS, RESULTS = "prompts.json", "results.csv"


def joined_scores(folder: Path, prompts: PromptSet, kind: PromptKind, places: Sequence[Place]) -> list[Score]:
    """The scores of the run in `folder` at `places`; it may have evaluated more than those.

    Raises:
        ResultsError: it was asked for other objects or with other prompts, or lacks one of `places`.
        PromptFileError, OSError: its prompts.json cannot be read.
    """
    path = folder / PROMPTS
    theirs = PromptSet.from_json(path.read_bytes().decode("utf-8", "replace"), str(path))
    if theirs.seed != prompts.seed or not set(prompts.pictures) <= set(theirs.pictures):
        raise ResultsError(
            f"{folder}: its {PROMPTS} differs from this run's; run that evaluation again with the "
            f"same prompts, or this one with --prompts {path}"
        )
    text = (folder / RESULTS).read_bytes().decode("utf-8", "replace")
    return covering(from_csv(text, kind, str(folder / RESULTS)), places, str(folder / RESULTS))


def refuse_equal_rows(joined: Sequence[Sequence[Score]], methods: Sequence[Method]) -> None:
    """Raises ResultsError where two of the runs, or one and a method, have the same row."""
    rows = [row for scores in joined for row in dict.fromkeys(score.row for score in scores)]
    rows += [method.row for method in methods]
    for row in rows:
        if rows.count(row) > 1:
            raise ResultsError(
                f"{row}: a run given with --join has this row already; "
                "name the source otherwise (NAME=FOLDER), or leave the method out"
            )
