"""The C++ library in place of this package's own engines: the same masks, by way of its C interface."""

from __future__ import annotations

from .predictor import NativePredictor

__all__ = ["NativePredictor"]
