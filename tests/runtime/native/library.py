"""Finding the C++ library, what it says of bundles, and its errors as the Python package's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_void_p
from ctypes.util import find_library
from pathlib import Path

from glesam_runtime.errors import BackendError, BundleError, GlesamError, ImageError, PromptError, first_line

from .structs import CBackendChoice

LIBRARY = Path(
    os.environ.setdefault(
        "GLESAM_LIBRARY", str(Path(__file__).parents[3] / "build/release/runtime/libglesam.so")
    )
)
"""Where the library lies, once it is built."""
ABI = "0.1"
"""The part of the library's version that its soname has: another one may have other structs."""
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


@contextmanager
def opened_bundle(library: ctypes.CDLL, path: str | os.PathLike[str]) -> Iterator[c_void_p]:
    """A glesam_bundle, freed at the end. Raises BundleError with the library's message."""
    bundle = c_void_p()
    check(library, library.glesam_bundle_open(os.fsencode(path), byref(bundle)))
    try:
        yield bundle
    finally:
        library.glesam_bundle_free(bundle)


def open_bundle(path: Path, public_key: Path | None = None) -> None:
    """Opens and closes the bundle. Raises BundleError with the library's message."""
    library, bundle = load_library(), c_void_p()
    if public_key is None:
        check(library, library.glesam_bundle_open(os.fsencode(path), byref(bundle)))
    else:
        key = os.fsencode(public_key)
        check(library, library.glesam_bundle_open_signed(os.fsencode(path), key, byref(bundle)))
    library.glesam_bundle_free(bundle)


def choose_backend(path: Path, backend: str = "auto") -> tuple[str, str]:
    """The backend and why, as pick_for_bundle. Raises GlesamError with the library's message."""
    library, choice = load_library(), CBackendChoice()
    with opened_bundle(library, path) as bundle:
        check(library, library.glesam_bundle_choose_backend(bundle, backend.encode(), byref(choice)))
    return choice.backend.decode(), choice.reason.decode()
