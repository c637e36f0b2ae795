"""The work of the commands, and the presentation of its results."""
