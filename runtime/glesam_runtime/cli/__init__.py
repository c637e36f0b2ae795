"""The runtime's commands."""
