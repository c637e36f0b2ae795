"""How a command fails: one line on stderr, exit status 2; 1 where a bundle computes something else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import GlesamError, ParityError

EXIT_STATUS = 2
PARITY_EXIT_STATUS = 1


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn this package's errors, and a reader that went away, into one line and an exit status."""
    try:
        yield
        sys.stdout.flush()
    except GlesamError as error:
        complain(str(error))
        raise typer.Exit(PARITY_EXIT_STATUS if isinstance(error, ParityError) else EXIT_STATUS) from error
    except BrokenPipeError as error:
        # Python flushes stdout once more at exit, which would fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain("the reader of this output went away before its end; read it all")
        raise typer.Exit(EXIT_STATUS) from error


def complain(message: str) -> None:
    """Say what is wrong, in one line on stderr."""
    typer.echo(f"error: {message}", err=True)
