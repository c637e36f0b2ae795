"""The errors that every package of this project raises deliberately.

    GlesamError
    ├── BundleError        the bundle is missing, tampered with, or not what docs/bundle.md says
    ├── BackendError       a backend is unknown, absent, or refuses a graph or its feeds
    ├── PromptError        a prompt does not fit the picture or the model
    ├── OutputError        a result cannot be written
    ├── ParityError        a bundle does not compute what PyTorch computes
    ├── CalibrationError   pictures, statistics or a graph cannot be used for int8
    ├── NotFasterError     int8 runs no faster on this machine than float
    ├── ExportError        a checkpoint does not become a bundle
    │   ├── FoldError        a fold's precondition does not hold for this model
    │   └── ConversionError  PyTorch -> ONNX failed, or the graph breaks the bundle's contract
    └── InputError         a checkpoint, a data set, a picture or a setting cannot be used; also a ValueError
        ├── ImageError       a picture cannot be read, has the wrong type, or is not set
        │   └── DamagedVideoError  a video is whole only up to a frame
        ├── CheckpointError  a checkpoint is missing, damaged, or does not fit its configuration
        ├── PromptFileError  a file of prompts does not fit its pictures
        └── ResultsError     evaluation results are unreadable or do not belong together

A message is one line: what was expected, what was found, what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GlesamError(Exception):
    """Base of every error that this project raises deliberately."""

    def __init__(self, message: str) -> None:
        """Escapes line breaks and control characters, which names of files may contain."""
        super().__init__(printable(message))


class BundleError(GlesamError):
    """The bundle is missing, tampered with, or not what docs/bundle.md says."""


class BackendError(GlesamError):
    """A backend is unknown, absent, or refuses a graph or its feeds."""


class PromptError(GlesamError):
    """A prompt does not fit the picture or the model."""


class OutputError(GlesamError):
    """A result cannot be written."""


class ParityError(GlesamError):
    """A bundle does not compute what PyTorch computes."""


class CalibrationError(GlesamError):
    """Pictures, statistics or a graph cannot be used for int8; the message says what to do."""


class NotFasterError(GlesamError):
    """int8 runs no faster on this machine than float, so an int8 bundle has no use."""


class ExportError(GlesamError):
    """A checkpoint does not become a bundle."""


class FoldError(ExportError):
    """A fold's precondition does not hold for this model."""


class ConversionError(ExportError):
    """PyTorch -> ONNX failed, or the graph breaks the bundle's contract."""


class InputError(GlesamError, ValueError):
    """A checkpoint, a data set, a picture or a setting cannot be used."""


class ImageError(InputError):
    """A picture cannot be read, has the wrong type, or is not set."""


class DamagedVideoError(ImageError):
    """A video ends before its header says, or what follows a frame is damaged; up to there it is whole."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or does not fit its configuration."""


class PromptFileError(InputError):
    """A file of prompts does not fit its pictures."""


class ResultsError(InputError):
    """Evaluation results are unreadable or do not belong together."""


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """Puts `subject`, such as a file, before the message of a GlesamError from code that does not know it."""
    try:
        yield
    except GlesamError as error:
        raise type(error)(f"{subject}: {error}") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of another library's message, to quote in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """Returns `text` with line breaks and other control characters escaped."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)
