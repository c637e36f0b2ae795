"""What GLE (generative latent space enhancement) gains: a row with it against its baseline without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glesam.evaluation.results import Results
from glesam.evaluation.score import REAL, RowName

MIN_GAP = 0.01
"""Smallest gap in IoU whose closed share is computed; a smaller one is within chance."""
RESAMPLES = 10_000
"""Bootstrap resamples of the pictures."""
MIN_PICTURES = 10
"""Fewest pictures whose resamples say anything."""


@dataclass(frozen=True)
class Comparison:
    """A row with GLE and the row without GLE that it is measured against."""

    enhanced: RowName
    plain: RowName

    def __str__(self) -> str:
        same = self.plain.source == self.enhanced.source
        return f"{self.enhanced} over {self.plain.method if same else self.plain}"

    def gain(self, results: Results, level: str) -> float:
        """Mean IoU with GLE minus without, at `level`."""
        return results.mean("iou", self.enhanced, level) - results.mean("iou", self.plain, level)

    def interval(self, results: Results, level: str) -> tuple[float, float] | None:
        """Bounds of 95 % of the gains over resampled pictures: the paired percentile bootstrap (Efron, 1979).

        Both rows have the same pictures and prompts, so that each picture counts by its own gain. What other
        seeds of training would change is not in it. Returns None for fewer than `MIN_PICTURES`.
        """
        plain = {(s.dataset, s.name): s.metrics["iou"] for s in results.select(self.plain, level)}
        enhanced = results.select(self.enhanced, level)
        gains = np.array([s.metrics["iou"] - plain[s.dataset, s.name] for s in enhanced])
        if len(gains) < MIN_PICTURES:
            return None
        rng = np.random.default_rng(0)
        means = [gains[rng.integers(len(gains), size=len(gains))].mean() for _ in range(RESAMPLES)]
        low, high = np.quantile(means, (0.025, 0.975))
        return float(low), float(high)

    def closed(self, results: Results, level: str) -> float | None:
        """Share that GLE closes of the gap which degradation opens:

            (IoU_level with - IoU_level without) / (IoU_clean without - IoU_level without)

        Returns None where there is no gap: on clean pictures, on pictures that have no clean version, and
        where degradation costs less than `MIN_GAP`.
        """
        if level in ("clean", REAL) or "clean" not in results.levels:
            return None
        gap = results.mean("iou", self.plain, "clean") - results.mean("iou", self.plain, level)
        return self.gain(results, level) / gap if gap >= MIN_GAP else None


def comparisons(rows: Sequence[RowName]) -> list[Comparison]:
    """Pairs each glesam row with its baseline.

    The baseline is the first source that ran sam alone: a decoder fine-tuned the same way with GLE off.
    Without such a source it is sam on the row's own source, whose decoder was fine-tuned behind GLE.
    """
    enhanced = [row for row in rows if row.method == "glesam"]
    with_gle = {row.source for row in enhanced}
    plain = [row for row in rows if row.method == "sam"]
    fair = next((row for row in plain if row.source not in with_gle), None)
    own = {row.source: row for row in plain}
    pairs = [(row, fair or own.get(row.source)) for row in enhanced]
    return [Comparison(row, baseline) for row, baseline in pairs if baseline]
