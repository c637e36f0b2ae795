"""The training package's commands, one file each."""
