"""Programs that tests run in a process of their own, with `python -c`."""

from __future__ import annotations


def main_of(command: str) -> str:
    """Returns the program of a runtime's command, such as "run", that Ctrl-C ends."""
    return interruptible(f"from glesam_runtime.cli.{command} import main; main()")


def interruptible(code: str) -> str:
    """Returns `code` as a program that Ctrl-C ends.

    A background job of a shell starts with SIGINT ignored, and so do its children: Python leaves that as it
    is.
    """
    return f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
