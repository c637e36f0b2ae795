"""What can go wrong in an export.

ExportError            every error below; the message says what was expected, found, and what to do
├── FoldError          a fold's precondition does not hold for this model
├── ConversionError    PyTorch -> ONNX failed, or the graph is not what the bundle promises
└── NotFasterError     int8 runs no faster here than float

A bundle that does not compute what PyTorch computes is `glesam_runtime.ParityError`.
"""

from __future__ import annotations


class ExportError(Exception):
    """Base of this package's errors; its text is one line for a user."""


class FoldError(ExportError):
    """A fold's precondition does not hold for this model."""


class NotFasterError(ExportError):
    """int8 runs no faster here than float: a bundle that only loses."""


class ConversionError(ExportError):
    """PyTorch -> ONNX failed, or the graph is not what the bundle promises."""
