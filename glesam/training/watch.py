"""Watchers of a training run: lines, a progress bar, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PICTURES = "input, degraded, truth, prediction"
"""Title of the pictures in TensorBoard: their columns."""


@dataclass(frozen=True)
class Moment:
    """The state after `step` of `steps` steps of a stage, in a run that began at step `first`.

    `means`: mean of every loss since the last report, with the seconds per step; None between reports.
    `trains`: False for steps that prepare a stage and have no losses.
    """

    stage: str
    step: int
    steps: int
    first: int
    means: Mapping[str, float] | None = None
    step_s: float = 0.0
    trains: bool = True

    def summary(self) -> str:
        losses = [f"{key} {value:.4f}" for key, value in (self.means or {}).items()]
        return "  ".join([*losses, f"{self.step_s:.2f} s/step"])


class Watcher(Protocol):
    """A function that is called after every step, on the main process alone."""

    def __call__(self, moment: Moment, /) -> None: ...


@dataclass(frozen=True)
class Lines:
    """Writes one line per report."""

    write: Callable[[str], None] = print

    def __call__(self, moment: Moment) -> None:
        if moment.means is not None:
            self.write(f"{moment.stage} {moment.step}/{moment.steps}  {moment.summary()}")


@dataclass(frozen=True)
class All:
    """Several watchers as one."""

    watchers: tuple[Watcher, ...]

    def __call__(self, moment: Moment) -> None:
        for watcher in self.watchers:
            watcher(moment)


@dataclass(frozen=True)
class Bar:
    """Draws a bar for every stage on a terminal, with the last report beside it."""

    progress: Progress
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, moment: Moment) -> None:
        if moment.stage not in self.tasks:
            self.tasks[moment.stage] = self.progress.add_task(moment.stage, total=moment.steps, means="")
        task = self.tasks[moment.stage]
        self.progress.update(task, completed=moment.step)
        if moment.means is not None:
            self.progress.update(task, means=moment.summary())


def training_progress() -> Progress:
    """The progress display that `Bar` draws on; a context manager."""
    text = TextColumn("{task.description}"), TextColumn("{task.fields[means]}")
    return Progress(text[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), text[1])


class Board:
    """TensorBoard: the reported means as scalars, and pictures every `pictures_every` steps.

    What an earlier, killed run wrote after its last checkpoint is hidden once this one has resumed.

    Args:
        folder: folder of the event files; each stage has one of its own in it.
        pictures: draws uint8 [H, W, 3], RGB, when called.
        pictures_every: steps; 0 for none.
    """

    def __init__(
        self, folder: Path, pictures: Callable[[], NDArray[np.uint8]], pictures_every: int = 0
    ) -> None:
        self.folder, self.pictures, self.pictures_every = folder, pictures, pictures_every
        self.writers: dict[str, SummaryWriter] = {}

    def __call__(self, moment: Moment) -> None:
        if not moment.trains:
            return
        writer = self.writers.get(moment.stage) or self.open(moment)
        for key, value in (moment.means or {}).items():
            writer.add_scalar(key, value, moment.step)
        if self.pictures_every and moment.step % self.pictures_every == 0:
            writer.add_image(PICTURES, self.pictures(), moment.step, dataformats="HWC")
        if moment.step == moment.steps:
            writer.close()

    def open(self, moment: Moment) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.folder / moment.stage), purge_step=moment.first + 1)
        self.writers[moment.stage] = writer
        return writer
