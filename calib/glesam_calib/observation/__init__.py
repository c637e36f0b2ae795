"""Makes a calibration table from pictures."""
