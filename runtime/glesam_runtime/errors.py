"""Everything that can go wrong on purpose.

    GlesamError
    ├── BundleError     the bundle is missing, tampered with, or not what docs/bundle.md says
    ├── BackendError    a backend is unknown, absent, or refuses a graph or its feeds
    ├── ImageError      a picture cannot be read, is none, or cannot be resized as asked
    ├── PromptError     a prompt does not fit the picture or the model
    ├── OutputError     a result cannot be written where it was asked for
    └── ParityError     a bundle does not compute what PyTorch computes

A message is one line: what was expected, what was found, what to do.
"""

from __future__ import annotations


class GlesamError(Exception):
    """Base of every error this package raises deliberately."""

    def __init__(self, message: str) -> None:
        """What a message quotes, a file's name or a bundle's, may hold line breaks: they are escaped."""
        super().__init__("".join(x if x.isprintable() else repr(x)[1:-1] for x in message))


class BundleError(GlesamError):
    """The bundle is missing, tampered with, or not what docs/bundle.md says."""


class BackendError(GlesamError):
    """A backend is unknown, absent, or refuses a graph or its feeds."""


class ImageError(GlesamError):
    """A picture cannot be read, is none, or cannot be resized as asked."""


class PromptError(GlesamError):
    """A prompt does not fit the picture or the model."""


class OutputError(GlesamError):
    """A result cannot be written where it was asked for."""


class ParityError(GlesamError):
    """A bundle does not compute what PyTorch computes."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, to quote inside one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
