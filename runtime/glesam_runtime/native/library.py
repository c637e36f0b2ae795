"""Finding the C++ library, and its errors as this package's."""

from __future__ import annotations

import ctypes
import os
from ctypes.util import find_library

from ..errors import BackendError, BundleError, GlesamError, ImageError, PromptError, first_line

ABI = "0.1"
"""Of the library's version, what its soname has: another may have other structs."""
_ERRORS: dict[int, type[GlesamError]] = {1: BundleError, 2: BackendError, 3: ImageError, 4: PromptError}
_CURE = "build it with `make cpp`, and set GLESAM_LIBRARY=build/release/runtime/libglesam.so"


def load_library() -> ctypes.CDLL:
    """The library that GLESAM_LIBRARY names or, where it is not set, the system's.

    Raises BackendError where there is none, or one of another ABI.
    """
    path = os.environ.get("GLESAM_LIBRARY") or find_library("glesam")
    if path is None:
        raise BackendError(f"backend native: the C++ library libglesam is not installed; {_CURE}")
    try:
        library = ctypes.CDLL(path)
        library.glesam_version.restype = library.glesam_last_error.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise BackendError(
            f"backend native: cannot load the C++ library {path} ({first_line(error)}); {_CURE}"
        ) from error
    version = library.glesam_version().decode()
    if version.split(".")[:2] != ABI.split("."):
        raise BackendError(f"backend native: expected a C++ library {ABI}, found {version} ({path}); {_CURE}")
    return library


def check(library: ctypes.CDLL, status: int) -> None:
    """Raises what the library's status means, with its message: the exceptions of the Python predictor."""
    if status:
        message = library.glesam_last_error().decode(errors="replace")
        raise _ERRORS.get(status, GlesamError)(message)
