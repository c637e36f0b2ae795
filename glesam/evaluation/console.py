"""Tables on the terminal; Markdown where the output is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # numpy and OpenCV, which --help can do without
    from glesam.evaluation.results import Results
    from glesam.evaluation.table import Table


def note(line: str) -> None:
    """What happens on the way: on stderr, so that stdout is the tables and what was written."""
    typer.echo(line, err=True)


def show_results(results: Results) -> None:
    """All metrics over all pictures, IoU of each data set, and what the reader must know of them."""
    from glesam.evaluation.table import dataset_tables, footnotes, overall_tables

    for table in [*overall_tables(results), *dataset_tables(results, ["iou"])]:
        if sys.stdout.isatty():
            _show_rich(table)
        else:
            typer.echo(f"{table.markdown()}")
    for line in footnotes(results):
        typer.echo(line)


def closing_line(files: Mapping[Path, int]) -> str:
    """What was written, how large, and the next command; the last file is to be looked at."""
    last = list(files)[-1]
    size = sum(files.values()) / 1000
    return f"wrote {len(files)} files to {last.parent}, {size:.1f} kB; next: xdg-open {last}"


def _show_rich(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(title=Text(table.title), title_justify="left")
    grid.add_column()
    for column in table.columns:
        grid.add_column(Text(column), justify="right")
    for line in table.lines:
        grid.add_row(*map(Text, line))
    Console().print(grid)
