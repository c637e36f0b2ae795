"""bundle.json's text as a JSON object, where both languages' readers must see the same one.

A name used twice, a text that is no Unicode, or bytes before or after the object mean different things to
different readers: they are refused. runtime/src/bundle/json_text.cpp does the same.
"""

from __future__ import annotations

import json

from ..errors import BundleError

DEEPEST = 900
"""Deepest nesting; Python's own reader gives up near here."""
MOST_NAMES = 2_000
"""Most names of one object."""
MOST_NAMES_IN_ALL = 50_000
"""Most names of all objects."""


def parse_document(text: bytes) -> object:
    """Returns the value in bundle.json's text. Raises BundleError where it is no JSON, or not plain."""
    try:
        document: object = json.loads(text.decode(), object_pairs_hook=_Names().object)
        _check_plain(document)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is not JSON ({error}); export the bundle again") from error
    return document


class _Names:
    """Makes dictionaries of a document's objects and counts their names."""

    def __init__(self) -> None:
        self._count = 0

    def object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Returns an object. Raises ValueError for a name used twice, and for too many names."""
        self._count += len(pairs)
        if len(pairs) > MOST_NAMES or self._count > MOST_NAMES_IN_ALL:
            raise ValueError(f"an object of more than {MOST_NAMES} names, or {MOST_NAMES_IN_ALL} in all")
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a name used twice in one object")
        return values


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
