"""What a run says on its way, and which pictures it had to leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from glesam.evaluation.evaluate import Skipped
from glesam_runtime.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Log:
    """`say` takes one line."""

    say: Callable[[str], None]
    skipped: list[Skipped] = field(default_factory=list)

    def kept(self, outcomes: Iterable[Item | Skipped]) -> Iterator[Item]:
        """What was not skipped; the rest is said and remembered."""
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                self.skipped.append(outcome)
                self.say(f"skipped {outcome.title}: {outcome.reason}")
            else:
                yield outcome

    def skip_note(self) -> list[str]:
        """For the table: which pictures are in no row."""
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
