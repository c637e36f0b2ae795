"""Float bundle and pictures -> calibration table -> int8 bundle. Imports glesam_runtime only; no torch.

`pipeline.quantize_bundle` is the whole chain. `observation` makes the table, `quantization` the int8 graphs,
`graph` holds the arithmetic and the files of ONNX graphs, which glesam_export shares.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
_MODULES = {
    "glesam_calib.observation.image_folder": ("images_in", "picture_paths"),
    "glesam_calib.observation.observe": ("Sample", "calibrate", "empty_table"),
    "glesam_calib.observation.table": ("CalibrationTable",),
    "glesam_calib.observation.threshold": ("METHODS",),
    "glesam_calib.quantization.layers": ("Policy",),
    "glesam_calib.quantization.quantize": ("Quantization", "Quantized", "quantize"),
    "glesam_runtime.errors": ("CalibrationError",),
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: a command's --help and its error need no onnx."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
