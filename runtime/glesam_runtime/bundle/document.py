"""bundle.json's text as a JSON object, where both languages' readers must see the same one.

A name used twice, a text that is no Unicode, or bytes before or after the object mean different things to
different readers: they are refused. runtime/src/bundle/json_text.cpp does the same.
"""

from __future__ import annotations

import json
import math

from ..errors import BundleError

DEEPEST = 900
"""Deepest nesting; Python's own reader gives up near here."""
MOST_NAMES = 2_000
"""Most names of one object."""
MOST_MARKS = 200_000
"""Most commas, colons and opening brackets of a text, counted before it is parsed."""


def parse_document(text: bytes) -> object:
    """Returns the value in bundle.json's text. Raises BundleError where it is no JSON, or not plain."""
    try:
        if sum(map(text.count, (b",", b":", b"[", b"{"))) > MOST_MARKS:
            raise ValueError(f"more than {MOST_MARKS} values and names")
        document: object = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
        _check_plain(document)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is not JSON ({error}); export the bundle again") from error
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Returns an object. Raises ValueError for a name used twice, and for too many names."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name used twice in one object")
    if len(values) > MOST_NAMES:
        raise ValueError(f"an object of more than {MOST_NAMES} names")
    return values


def _integer(digits: str) -> int | float:
    """Returns an integer where it fits in 64 bits; a longer one is a float, as in C++."""
    value = int(digits) if len(digits) <= 20 else 1 << 64
    return value if -(1 << 63) <= value < 1 << 64 else _finite(digits)


def _finite(digits: str) -> float:
    """Returns a float. Raises ValueError for NaN, infinity and too large a number."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


def _check_plain(document: object) -> None:
    """Raises ValueError for values nested too deeply, and for texts that are no Unicode."""
    level: list[object] = [document]
    for _ in range(DEEPEST + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and not value.isascii():
                value.encode()  # UnicodeEncodeError, a ValueError, for one half of a surrogate pair
        level = inner
    if level:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
