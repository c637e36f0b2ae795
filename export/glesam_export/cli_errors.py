"""Every deliberate error of a command as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from glesam_runtime.cli.errors import EXIT_STATUS, PARITY_EXIT_STATUS, complain


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Exit status 1 where a bundle is no good (parity, speed), 2 for the rest. `command` is for messages."""
    try:
        from glesam.model import CheckpointError
        from glesam_export.errors import ExportError, NotFasterError
        from glesam_runtime import GlesamError, ParityError
    except ImportError as error:
        complain(f"{command} needs {error.name}: pip install 'glesam[export]'")
        raise typer.Exit(EXIT_STATUS) from error
    try:
        yield
    except (ParityError, NotFasterError) as error:
        complain(str(error))
        raise typer.Exit(PARITY_EXIT_STATUS) from error
    except (ExportError, CheckpointError, GlesamError, OSError) as error:  # OSError: a full disk
        complain(str(error))
        raise typer.Exit(EXIT_STATUS) from error
    except typer.BadParameter as error:
        complain(error.message)
        raise typer.Exit(EXIT_STATUS) from error
