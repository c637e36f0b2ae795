"""Tables for people, drawn by rich; it is loaded only where one is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    Drawn = Table | Text


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """The first column is a name, the others are figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text  # unlike a string, it is shown as it is: rich would take [ms] for markup

    drawn = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for index, column in enumerate(columns):
        drawn.add_column(Text(column), justify="right" if index else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def grid(rows: Iterable[Sequence[str]]) -> Table:
    """Columns without a frame; the last one is wrapped where it is too long."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, 2))
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def plain(text: str) -> Text:
    """Lines as they are."""
    from rich.text import Text

    return Text(text)


def show(tables: Iterable[Drawn], to_stderr: bool = False) -> None:
    """Prints them with an empty line after each."""
    from rich.console import Console

    class Complaining(Console):
        def on_broken_pipe(self) -> None:
            """rich would end the process with status 1 and no word."""
            raise BrokenPipeError

    console = Complaining(stderr=to_stderr)
    for each in tables:
        console.print(each)
        console.print()
