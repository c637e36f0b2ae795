"""How a command of this package fails: one line on stderr, exit status 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from glesam.errors import printable

EXIT_STATUS = 2


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn a missing package, and errors a user can cause, into one line and exit status 2."""
    try:
        yield
    except ImportError as error:
        _fail(f"{command} needs {error.name}: pip install 'glesam[train]'", error)
    except (OSError, ValueError) as error:
        _fail(str(error), error)


def complain(message: str) -> None:
    """Say what is wrong, in one line on stderr."""
    typer.echo(f"error: {printable(message)}", err=True)


def _fail(message: str, cause: Exception) -> None:
    complain(message)
    raise typer.Exit(EXIT_STATUS) from cause
