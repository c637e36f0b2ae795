"""What TensorRT says, in Python's log and in our errors."""

from __future__ import annotations

import logging
import threading
from functools import cache
from typing import Any

from ...errors import first_line

_LOG = logging.getLogger("glesam_runtime.tensorrt")
# Without it Python prints what is quoted in an error of ours to a program that set up no log.
_LOG.addHandler(logging.NullHandler())
_LEVELS = {"VERBOSE": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING}


@cache
def python_logger(module: Any) -> Any:  # noqa: ANN401
    """The `ILogger` of this process for TensorRT's `module`: it must outlive all that is made with it."""

    class PythonLogger(module.ILogger):  # type: ignore[misc]  # each library has a base class of its own
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self._thread = threading.local()

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
            level = _LEVELS.get(severity.name, logging.ERROR)
            _LOG.log(level, "%s", msg)
            if level == logging.ERROR:
                self._thread.errors = [*getattr(self._thread, "errors", []), msg]

        def take_error(self) -> str:
            """The first error since it was last asked in this thread, which is the others' cause."""
            errors, self._thread.errors = getattr(self._thread, "errors", []), []
            return first_line(RuntimeError(errors[0])) if errors else "it does not say why"

    return PythonLogger()
