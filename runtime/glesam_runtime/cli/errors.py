"""How a command fails: one line on stderr, exit status 2; 1 where a bundle computes something else."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

import typer

from ..errors import GlesamError, ParityError

EXIT_STATUS = 2
PARITY_EXIT_STATUS = 1
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What stdout says where it is a file on a full disk."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn this package's errors, and an output that takes no more, into one line and an exit status."""
    with some_stdout():
        try:
            yield
            sys.stdout.flush()
        except GlesamError as error:
            complain(str(error))
            raise typer.Exit(PARITY_EXIT_STATUS if isinstance(error, ParityError) else EXIT_STATUS) from error
        except BrokenPipeError as error:
            give_up_stdout("the reader of this output went away before its end; read it all")
            raise typer.Exit(EXIT_STATUS) from error
        except OSError as error:
            if error.errno not in NO_ROOM or error.filename is not None:
                raise
            give_up_stdout(f"cannot write to the output ({error.strerror}); free some space on its disk")
            raise typer.Exit(EXIT_STATUS) from error


@contextmanager
def some_stdout() -> Iterator[None]:
    """Python has none where who started it closed it; what is said then goes nowhere."""
    if sys.stdout is not None:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def give_up_stdout(message: str) -> None:
    """Python flushes stdout once more at exit, which would fail with a traceback."""
    with suppress(io.UnsupportedOperation):  # a stdout without a descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    complain(message)


def complain(message: str) -> None:
    """Say what is wrong, in one line on stderr."""
    typer.echo(f"error: {message}", err=True)
