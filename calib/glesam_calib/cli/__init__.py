"""glesam-calibrate and glesam-quantize."""
