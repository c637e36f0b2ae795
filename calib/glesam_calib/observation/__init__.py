"""From pictures to a calibration table."""
