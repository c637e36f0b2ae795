"""Tables on a terminal, drawn by rich, which is imported only when one is drawn."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..bundle.reader import Bundle
from ..errors import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    Drawn = Table | Text

_NOT_CUT = 100_000
"""Columns of a pipe or a file, more than any line has."""


def model_line(bundle: Bundle, backend: str) -> str:
    """Returns one line about the model and the backend that runs it."""
    model = bundle.manifest
    return f"{model.name} {model.precision}, bundle {bundle.hash[:12]}, backend {backend}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Returns a table whose first column holds names and whose other columns hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text  # a plain string would have [ms] read as markup

    shown_title = Text(printable(title))
    drawn = Table(
        title=shown_title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for index, column in enumerate(columns):
        drawn.add_column(Text(column), justify="right" if index else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(Text, map(printable, row)))
    return drawn


def grid(rows: Iterable[Sequence[str]]) -> Table:
    """Returns columns without a frame; the last one is wrapped where it is too long."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, 2))
    for row in rows:
        # A folder without blanks is folded; by default it would end in "...".
        drawn.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    for column in drawn.columns:
        column.overflow = "fold"
    return drawn


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
