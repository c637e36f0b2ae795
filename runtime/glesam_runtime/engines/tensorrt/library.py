"""Loads TensorRT or TensorRT for RTX, which share one API, and passes their messages to Python's log."""

from __future__ import annotations

import importlib
import logging
import math
import re
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...errors import BackendError, first_line

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_INSTALL = {
    "tensorrt": "JetPack brings it on a Jetson; elsewhere install NVIDIA's TensorRT packages",
    "tensorrt-rtx": "pip install 'glesam[tensorrt-rtx]'",
}
# JetPack 6 has 10.3. The API used here is that of 10.3, 10.16 and 11.4; RTX 1.7 is the first with int8.
_VERSIONS = {
    "tensorrt": ((10, 3), (12, 0), "10.3 to 11.x"),
    "tensorrt-rtx": ((1, 7), (math.inf, 0), "1.7 or later"),
}
_LOG = logging.getLogger("glesam_runtime.tensorrt")
# Without a handler Python prints what our errors quote, in a program that set up no logging.
_LOG.addHandler(logging.NullHandler())
_LEVELS = {"VERBOSE": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING}


@dataclass(frozen=True)
class Library:
    """An imported TensorRT: `backend` is "tensorrt" or "tensorrt-rtx", `module` its Python module."""

    backend: str
    module: Any
    version: str


def load_library(backend: str) -> Library:
    """Imports the library of `backend`. Raises BackendError where it is absent or of another version."""
    try:
        module = importlib.import_module(_MODULES[backend])
    except (ImportError, OSError) as error:  # OSError: bindings without their shared library
        raise BackendError(
            f"backend {backend} cannot be imported ({first_line(error)}); {_INSTALL[backend]}"
        ) from error
    version = str(module.__version__)
    _check_version(backend, version)
    return Library(backend, module, version)


def _check_version(backend: str, version: str) -> None:
    least, below, accepted = _VERSIONS[backend]
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers or not least <= (int(numbers[1]), int(numbers[2])) < below:
        raise BackendError(
            f"backend {backend}: expected version {accepted}, found {version}; {_INSTALL[backend]}"
        )


@cache
def python_logger(module: Any) -> Any:  # noqa: ANN401
    """Returns this process's `ILogger` for TensorRT's `module`: it must outlive all that is made with it."""

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
            """Returns this thread's first error since the last call: it causes the ones after it."""
            errors, self._thread.errors = getattr(self._thread, "errors", []), []
            return first_line(RuntimeError(errors[0])) if errors else "it does not say why"

    return PythonLogger()
