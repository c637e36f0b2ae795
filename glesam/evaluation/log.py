"""Messages of a run while it works, and the pictures that it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from glesam.evaluation.score import Skipped
from glesam_runtime.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Log:
    """Prints through `say`, one line per call, and remembers every skipped picture."""

    say: Callable[[str], None]
    skipped: list[Skipped] = field(default_factory=list)

    def kept(self, outcomes: Iterable[Item | Skipped]) -> Iterator[Item]:
        """Yields what was not skipped; reports and remembers the rest."""
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                self.skipped.append(outcome)
                self.say(f"skipped {outcome.title}: {outcome.reason}")
            else:
                yield outcome

    def skip_note(self) -> list[str]:
        """A line for the table that names the skipped pictures; none where all were evaluated."""
        names = ", ".join(one.title for one in self.skipped)
        return [f"Skipped, so in no row: {names}."] if names else []

    def refuse_none(self, kept: Sequence[object]) -> None:
        """Raises InputError where every picture was skipped."""
        if not kept:
            last = self.skipped[-1]
            raise InputError(
                f"no picture could be evaluated, {len(self.skipped)} were skipped; the last because of "
                f"{last.title}: {last.reason}"
            )
