"""What commands print about files with odd names, for the tests of several folders."""

from __future__ import annotations

import importlib

from typer.testing import CliRunner


def output(module: str, *arguments: object) -> str:
    """What a command prints on stdout and stderr, whatever its exit status; an exception fails the test."""
    app = importlib.import_module(module).app
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def is_escaped(text: str, shown: str) -> bool:
    """Returns whether some line shows a name as `shown`, and none holds a character that is not printable."""
    lines = text.split("\n")
    return any(shown in line for line in lines) and all(line.isprintable() for line in lines)
