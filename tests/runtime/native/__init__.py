"""The C++ library through its C interface, for tests that compare it with the Python package."""

from __future__ import annotations

from .library import LIBRARY, choose_backend, open_bundle
from .predictor import NativePredictor
from .steps import NativeSteps

__all__ = [
    "LIBRARY",
    "NativePredictor",
    "NativeSteps",
    "choose_backend",
    "open_bundle",
]
