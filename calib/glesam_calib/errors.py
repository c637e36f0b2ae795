"""What can go wrong in calibration and quantization."""

from __future__ import annotations

from glesam_runtime import GlesamError


class CalibrationError(GlesamError):
    """Pictures, statistics or a graph cannot be used; the message says what to do."""
