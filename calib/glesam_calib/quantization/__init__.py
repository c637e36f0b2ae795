"""From a float graph and a table to an int8 graph."""
