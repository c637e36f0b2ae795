"""ONNX and pictures -> calibration table -> int8 ONNX, with Q/DQ. Imports glesam_runtime only; no torch."""

from __future__ import annotations

from glesam_calib.errors import CalibrationError
from glesam_calib.image_folder import images_in, picture_paths
from glesam_calib.layers import Policy
from glesam_calib.observe import Sample, calibrate, empty_table
from glesam_calib.quantize import Quantization, Quantized, quantize
from glesam_calib.table import CalibrationTable
from glesam_calib.threshold import METHODS

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
