"""Watchers of a training run: lines, a line in place, TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from glesam_runtime.tools.progress import REFRESH_S, clock

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


@dataclass
class Bar:
    """Shows on one line of a terminal how far a stage is, with the last report beside it.

    `show` replaces the line, as BottomLine's does. The last line of a stage is printed by `write`, to stay.
    """

    show: Callable[[str], None]
    write: Callable[[str], None] = print
    stage: str = ""
    first: int = 0
    begun: float = 0.0
    shown: float = 0.0
    summary: str = ""

    def __call__(self, moment: Moment) -> None:
        now = time.monotonic()
        if moment.stage != self.stage:
            self.stage, self.first, self.summary = moment.stage, moment.first, ""
            self.begun, self.shown = now, 0.0
        if moment.means is not None:
            self.summary = f"  {moment.summary()}"
        if moment.step == moment.steps:
            self.write(f"{moment.stage} {moment.step}/{moment.steps}{self.summary}")
        elif now - self.shown >= REFRESH_S:
            self.shown = now
            left = (now - self.begun) / max(1, moment.step - self.first) * (moment.steps - moment.step)
            self.show(f"{moment.stage} {moment.step}/{moment.steps}, {clock(left)} left{self.summary}")


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
