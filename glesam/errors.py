"""How messages of others are quoted inside ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """With line breaks and other control characters escaped, as `glesam_runtime.GlesamError` has them."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
