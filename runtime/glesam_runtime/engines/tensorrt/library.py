"""Which TensorRT there is: the full one (Jetson, data centre) or TensorRT for RTX. One API serves both."""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError, first_line

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_INSTALL = {
    "tensorrt": "JetPack brings it on a Jetson; elsewhere install NVIDIA's TensorRT packages",
    "tensorrt-rtx": "pip install 'glesam[tensorrt-rtx]'",
}
# 10.3 is JetPack 6's. The API used here was read off 10.3, 10.16 and 11.4; RTX 1.7 is the first with int8.
_VERSIONS = {
    "tensorrt": ((10, 3), (12, 0), "10.3 to 11.x"),
    "tensorrt-rtx": ((1, 7), (math.inf, 0), "1.7 or later"),
}


@dataclass(frozen=True)
class Library:
    """An imported TensorRT: `backend` is "tensorrt" or "tensorrt-rtx", `module` what was imported."""

    backend: str
    module: Any
    version: str


def load_library(backend: str) -> Library:
    """Import the library of `backend`. Raises BackendError where it is absent or of another version."""
    try:
        module = importlib.import_module(_MODULES[backend])
    except (ImportError, OSError) as error:  # OSError: bindings whose shared library is not there
        raise BackendError(
            f"backend {backend} cannot be imported ({first_line(error)}); {_INSTALL[backend]}"
        ) from error
    version = str(module.__version__)
    _check_version(backend, version)
    return Library(backend, module, version)


def _check_version(backend: str, version: str) -> None:
    least, below, accepted = _VERSIONS[backend]
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found or not least <= (int(found[1]), int(found[2])) < below:
        raise BackendError(
            f"backend {backend}: expected version {accepted}, found {version}; {_INSTALL[backend]}"
        )
