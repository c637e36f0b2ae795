"""What the commands do: one function per command, and how its result is shown."""
