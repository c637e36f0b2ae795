"""Errors of commands: one line on stderr and exit status 2, or 1 where a bundle fails a gate."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import NoReturn

import typer

from ..errors import GlesamError, NotFasterError, ParityError, printable
from ..tools.bottom_line import end_lines
from .interrupts import interruptible

EXIT_STATUS = 2
GATE_EXIT_STATUS = 1
PIPE_EXIT_STATUS = 128 + 13
"""A shell's status for a command whose reader went away (SIGPIPE)."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a write to stdout that is a file on a full disk."""


@contextmanager
def one_line_errors(command: str = "", extra: str = "") -> Iterator[None]:
    """Turns the errors that a user can cause into one line on stderr and an exit status.

    `command` and `extra` name the command and the optional dependencies it needs: with them a missing package
    is reported with the `pip install` that adds it.
    """
    with some_stdout(), interruptible():
        try:
            with _lines_ended():
                yield
            sys.stdout.flush()
        except (ParityError, NotFasterError) as error:
            fail(str(error), error, GATE_EXIT_STATUS)
        except GlesamError as error:
            fail(str(error), error)
        except typer.BadParameter as error:
            fail(error.message, error)
        except BrokenPipeError as error:  # `| head` has what it wanted
            give_up_stdout()
            raise typer.Exit(PIPE_EXIT_STATUS) from error
        except ImportError as error:
            if not extra:
                raise
            fail(f"{command} needs {error.name}: pip install 'glesam[{extra}]'", error)
        except OSError as error:
            if error.errno not in NO_ROOM or error.filename is not None:
                fail(str(error), error)
            give_up_stdout()
            complain(f"cannot write to the output ({error.strerror}); free some space on its disk")
            raise typer.Exit(EXIT_STATUS) from error


@contextmanager
def _lines_ended() -> Iterator[None]:
    """Clears a line of progress that an error or Ctrl-C in the block would leave on the terminal."""
    try:
        yield
    finally:
        end_lines()


def fail(message: str, cause: Exception, status: int = EXIT_STATUS) -> NoReturn:
    """Prints `message` as one line on stderr and ends the command."""
    complain(message)
    raise typer.Exit(status) from cause


@contextmanager
def some_stdout() -> Iterator[None]:
    """Discards output where stdout was closed before Python started."""
    if sys.stdout is not None:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def give_up_stdout() -> None:
    """Closes stdout: Python's flush at exit would fail with a traceback."""
    with suppress(io.UnsupportedOperation):  # a stdout without a descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str, err: bool = False) -> None:
    """Prints lines in which names from files are escaped: a terminal acts on ESC and CR."""
    typer.echo("\n".join(map(printable, lines)), err=err)


def complain(message: str) -> None:
    """Prints an error in one line on stderr."""
    typer.echo(f"error: {printable(message)}", err=True)
