"""glesam-eval as a user runs it, and the means of what it measured."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from .table import Row

COLUMN = {"clean": "clean", "1": "lq1", "2": "lq2", "3": "lq3"}
"""Levels as columns of a table name them."""
METRICS = ("iou", "boundary_iou")
Means = dict[str, dict[str, float]]
"""A metric's mean over the pictures, by level, then by metric."""


def evaluated(
    data: Path, checkpoints: Sequence[str], out: Path, *options: str, pictures: int | None = None
) -> dict[tuple[str, str], Means]:
    """Runs glesam-eval; returns the means of every row of its table, by source and method.

    Args:
        data: what --data takes.
        checkpoints: what --checkpoint takes, one each.
        out: folder of glesam-eval's own files.
        options: further ones.
        pictures: how many of each set; None: all.

    Raises:
        SystemExit: it failed, and has said why.
    """
    program = str(Path(sys.executable).with_name("glesam-eval"))
    sources = [f"--checkpoint={checkpoint}" for checkpoint in checkpoints]
    limit = [f"--per-set={pictures}"] if pictures else []
    try:
        subprocess.run([program, f"--data={data}", *options, *limit, *sources, f"--out={out}"], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from error
    scores: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with (out / "results.csv").open(newline="") as file:
        for score in csv.DictReader(file):
            scores[score["source"], score["method"]][score["level"]].append(score)
    return {
        row: {level: means_of(pictures) for level, pictures in levels.items()}
        for row, levels in scores.items()
    }


def means_of(pictures: Sequence[dict[str, str]]) -> dict[str, float]:
    return {metric: round(mean(float(score[metric]) for score in pictures), 4) for metric in METRICS}


def columns_of(means: Means, metric: str) -> Row:
    """Returns the cells of a metric, such as `lq1_iou`, in the order of the levels."""
    return {f"{COLUMN[level]}_{metric}": values[metric] for level, values in means.items()}
