"""Real pictures for parity and calibration. Imports glesam_runtime only; no torch."""

from __future__ import annotations

from glesam_calib.image_folder import images_in

__all__ = ["images_in"]
