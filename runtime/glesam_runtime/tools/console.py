"""Tables on a terminal, drawn by rich, which is imported only when one is drawn."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..bundle.reader import Bundle
from ..errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

    Drawn: TypeAlias = "Numbers | Grid | Table | Text"

_GAP = 3
"""Columns between two of a table's."""
_GRID_GAP, _LEAST_LAST = 2, 10
"""Columns between two of a grid's, and those that the last one has at least."""
_NOT_CUT = 100_000
"""Columns of a pipe or a file, more than any line has."""


def model_line(bundle: Bundle, backend: str) -> str:
    """Returns one line about the model and the backend that runs it."""
    model = bundle.manifest
    return f"{model.name} {model.precision}, bundle {bundle.hash[:12]}, backend {backend}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Numbers:
    """Returns a table whose first column holds names and whose other columns hold numbers."""
    return Numbers(printable(title), list(columns), [list(map(printable, row)) for row in rows])


@dataclass(frozen=True)
class Numbers:
    """A table of rows by name, drawn one below the other where its columns do not fit beside each other.

    A number is never cut; one that is wider than the terminal goes on in the next line.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Drawn]:
        from rich.text import Text

        for chosen in self._side_by_side(options.max_width):
            if chosen[0] > 1:
                yield Text()
            yield self._drawn(self.title if chosen[0] == 1 else "", chosen)

    def _side_by_side(self, width: int) -> Iterator[list[int]]:
        """Yields the indices of the columns that fit beside the names, at least one at a time."""
        from rich.cells import cell_len

        widths = [max(map(cell_len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        chosen: list[int] = []
        for index in range(1, len(widths)):
            if chosen and widths[0] + sum(_GAP + widths[i] for i in (*chosen, index)) > width:
                yield chosen
                chosen = []
            chosen.append(index)
        yield chosen

    def _drawn(self, title: str, chosen: Sequence[int]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text  # a plain string would have [ms] read as markup

        drawn = Table(
            title=Text(title) if title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        drawn.add_column(Text(self.columns[0]), overflow="fold")
        for index in chosen:
            drawn.add_column(Text(self.columns[index]), justify="right", overflow="fold")
        for row in self.rows:
            drawn.add_row(Text(row[0]), *(Text(row[index]) for index in chosen))
        return drawn


def grid(rows: Iterable[Sequence[str]]) -> Grid:
    """Returns columns without a frame; the last one is wrapped where it is too long."""
    return Grid([list(map(printable, row)) for row in rows])


@dataclass(frozen=True)
class Grid:
    """Columns without a frame. The others are wrapped too where they leave the last one no room."""

    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Drawn]:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        drawn = Table.grid(padding=(0, _GRID_GAP))
        for row in self.rows:
            # A folder without blanks is folded; by default it would end in "...".
            drawn.add_row(*(Text(cell, overflow="fold") for cell in row))
        widths = [max(map(cell_len, column)) for column in zip(*self.rows, strict=True)][:-1]
        have_room = sum(widths) + _GRID_GAP * len(widths) + _LEAST_LAST <= options.max_width
        for index, column in enumerate(drawn.columns):
            column.overflow = "fold"
            column.no_wrap = have_room and index < len(widths)
        yield drawn


def plain(text: str) -> Text:
    """Returns lines that are shown as they are, but for names with control characters in them."""
    from rich.text import Text

    return Text("\n".join(map(printable, text.split("\n"))))


def show(tables: Iterable[Drawn], to_stderr: bool = False) -> None:
    """Prints each of `tables`, followed by an empty line; in a pipe or a file nothing is cut or wrapped.

    $COLUMNS, where it is set, is the width of both.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        _print(tables, None, to_stderr)
        return
    wide = io.StringIO()
    _print(tables, wide, to_stderr)
    stream.writelines(f"{line.rstrip()}\n" for line in wide.getvalue().splitlines())


def _print(tables: Iterable[Drawn], file: io.StringIO | None, to_stderr: bool) -> None:
    """Prints to `file`, as wide as the tables are, or to the terminal."""
    from rich.console import Console

    class RaisingConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raises, where rich would end the process with status 1 and no message."""
            raise BrokenPipeError

    width = None if file is None or os.environ.get("COLUMNS") else _NOT_CUT
    console = RaisingConsole(stderr=to_stderr, file=file, width=width)
    for each in tables:
        console.print(each)
        console.print()
