"""ONNX and pictures -> calibration table -> int8 ONNX, with Q/DQ. Imports glesam_runtime only; no torch."""

from __future__ import annotations

from glesam_calib.observation.image_folder import images_in, picture_paths
from glesam_calib.observation.observe import Sample, calibrate, empty_table
from glesam_calib.observation.table import CalibrationTable
from glesam_calib.observation.threshold import METHODS
from glesam_calib.quantization.layers import Policy
from glesam_calib.quantization.quantize import Quantization, Quantized, quantize
from glesam_runtime.errors import CalibrationError

__all__ = [
    "METHODS",
    "CalibrationError",
    "CalibrationTable",
    "Policy",
    "Quantization",
    "Quantized",
    "Sample",
    "calibrate",
    "empty_table",
    "images_in",
    "picture_paths",
    "quantize",
]
