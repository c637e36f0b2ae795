"""A score, and the names it is filed under: data set, picture, level, source and method."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("clean", "1", "2", "3")
"""Levels from the easiest to the hardest: the picture as it is, then LQSeg's LQ-1 to LQ-3."""
REAL = "real"
"""The only level of data sets whose photographs are of low quality by themselves."""
BASELINE_METHODS = ("box", "grabcut")
"""Methods without weights."""
RESTORED = "restored"
"""A restorer before a model without GLE."""
MODEL_METHODS = ("sam", "glesam", RESTORED)
"""Methods of a model: GLE off, GLE on, GLE off on a restored picture."""
ROBUST_METHOD = "robustsam"
"""The method of a RobustSAM, which runs alone: there is no GLE to leave out."""
METHODS = (*BASELINE_METHODS, *MODEL_METHODS)


@dataclass(frozen=True)
class RowName:
    """A row of the table: what ran ("sam", "glesam", "box"), and with whose weights ("": none)."""

    source: str
    method: str

    def __str__(self) -> str:
        return f"{self.source}: {self.method}" if self.source else self.method


@dataclass(frozen=True)
class Score:
    """One picture, level and method: each metric's mean over the picture's objects.

    `metrics` has those of multimask only where the method has multimask.
    `fallbacks` of the `objects` masks are not the method's own work (`methods.Segmentation`).
    """

    dataset: str
    name: str
    level: str
    row: RowName
    objects: int
    fallbacks: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Skipped:
    """A picture without a score, and the reason in one line."""

    title: str
    reason: str
