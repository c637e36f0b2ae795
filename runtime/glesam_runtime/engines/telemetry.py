"""Telemetry of the inference libraries, which is off unless GLESAM_TELEMETRY=1 is set.

ONNX Runtime's Linux wheels since 1.29 and OpenVINO's Python package report usage to their makers, and write
a device id to the home folder. Each engine's file imports its library inside telemetry_off().
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WANTED = "GLESAM_TELEMETRY"
"""Environment variable that leaves the libraries' own settings alone where it is "1"."""
_OPENVINO_REPORTER = "openvino_telemetry"


def is_wanted() -> bool:
    """Returns whether the user allows the libraries to report."""
    return os.environ.get(WANTED) == "1"


@contextmanager
def telemetry_off() -> Iterator[None]:
    """Imports of onnxruntime and openvino in this block report nothing, neither then nor later.

    ONNX Runtime reads ORT_DISABLE_TELEMETRY once, when its first session is made; the variable stays set.
    OpenVINO does without its reporting package where that cannot be imported; afterwards it can be imported.
    """
    if is_wanted():
        yield
        return
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if _OPENVINO_REPORTER in sys.modules:  # the caller's own import, which is too late to prevent
        yield
        return
    sys.modules[_OPENVINO_REPORTER] = None  # type: ignore[assignment]  # Python's mark: cannot be imported
    try:
        yield
    finally:
        del sys.modules[_OPENVINO_REPORTER]
