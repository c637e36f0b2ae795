"""Options that are lists of names, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from glesam_runtime.errors import InputError

METHODS = ("box", "grabcut", "sam", "glesam")
LEVELS = ("clean", "1", "2", "3")

Name = TypeVar("Name", bound=str)


def names(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """ "3,clean" -> ("clean", "3"): each once, in the order of `known`. Raises InputError."""
    found = [word.strip() for word in text.split(",")]
    if not found or not set(found) <= set(known):
        raise InputError(f"{option} {text!r}: expected some of {','.join(known)}, with commas between")
    return tuple(name for name in known if name in found)


def one_of(option: str, text: str, known: Sequence[Name]) -> Name:
    """Raises InputError where `text` is not one of `known`."""
    for name in known:
        if name == text:
            return name
    raise InputError(f"{option} {text!r}: expected {' or '.join(known)}")
