"""Options of several numbers that may be repeated: --box X0 Y0 X1 Y1 --box X0 Y0 X1 Y1.

typer has no list of tuples, and its parser would take -5 for an option. So the numbers after such
an option are joined to one argument before typer sees them, and parsed here afterwards.
"""

from __future__ import annotations

import typer

from ..errors import PromptError
from ..prompts import Box
from .command import Command

_NAMES = {
    "--box": ("X0", "Y0", "X1", "Y1"),
    "--point": ("X", "Y"),
    "--background-point": ("X", "Y"),
}


class CoordinateCommand(Command):
    """A command whose coordinate options arrive as one string each: "X0 Y0 X1 Y1"."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Joins the coordinates, then parses."""
        return super().parse_args(ctx, join_coordinates(args))


def join_coordinates(args: list[str]) -> list[str]:
    """Returns ["--box", "1 2 3 4"] for ["--box", "1", "2", "3", "4"]; another option ends the numbers."""
    joined: list[str] = []
    rest = list(args)
    while rest:
        name = rest.pop(0)
        joined.append(name)
        values: list[str] = []
        while rest and len(values) < len(_NAMES.get(name, ())) and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if name in _NAMES:
            joined.append(" ".join(values))
    return joined


def boxes(values: list[str] | None) -> list[Box]:
    """Returns the values of --box as numbers. Raises PromptError where one has not four numbers."""
    rows = (_numbers("--box", value) for value in values or [])
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in rows]


def points(name: str, values: list[str] | None) -> list[tuple[float, float]]:
    """Returns the values of --point or --background-point as numbers; raises PromptError as boxes does."""
    rows = (_numbers(name, value) for value in values or [])
    return [(x, y) for x, y in rows]


def _numbers(name: str, value: str) -> list[float]:
    """Returns the numbers of one value of the option `name`."""
    words = value.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != len(_NAMES[name]):
        raise PromptError(
            f"{name}: expected {len(_NAMES[name])} numbers {' '.join(_NAMES[name])}, "
            f"found {value!r}; write {name} {' '.join(_NAMES[name])} with spaces between"
        )
    return numbers
