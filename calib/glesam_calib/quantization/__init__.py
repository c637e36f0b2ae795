"""Makes an int8 graph from a float graph and a calibration table."""
