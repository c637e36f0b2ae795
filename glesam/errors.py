"""How messages of others are quoted inside ours."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
