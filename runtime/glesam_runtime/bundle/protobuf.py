"""Reads protobuf messages by a table of the fields that may occur; everything else is refused.

It reads the wire format alone: no field is skipped unseen, none is copied but names, and the number of
fields is limited, so that its time is linear in their number. runtime/src/bundle/protobuf.cpp does the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

INTEGER, NUMBER, BYTES, INTEGERS, NUMBERS, MANY = "integer", "number", "bytes", "integers", "numbers", "many"
"""Kinds of fields: INTEGER, NUMBER (a float) and BYTES occur once, INTEGERS, NUMBERS and MANY (bytes) often.
"""
_SINGLE = (INTEGER, NUMBER, BYTES)
_VARINT, _FIXED32, _LENGTH = 0, 5, 2
_WIRE_TYPES = {
    INTEGER: (_VARINT,),
    NUMBER: (_FIXED32,),
    BYTES: (_LENGTH,),
    MANY: (_LENGTH,),
    INTEGERS: (_VARINT, _LENGTH),  # a list of numbers may be packed into one field
    NUMBERS: (_FIXED32, _LENGTH),
}
MOST_FIELDS = 300_000
"""Most fields of a file, numbers in lists included."""


class Damaged(Exception):
    """A file breaks a rule: "expected ..., found ...", or another verb in place of "expected"."""

    def __init__(self, expected: str, actual: str, verb: str = "expected") -> None:
        super().__init__(f"{verb} {expected}, found {actual}")


class Span(NamedTuple):
    """Bytes [start, end) of a file: the content of a field."""

    start: int
    end: int


@dataclass(frozen=True)
class Schema:
    """A kind of message: its name in errors, and name and kind of each field that it may hold, by number."""

    name: str
    fields: Mapping[int, tuple[str, str]]


@dataclass
class Message:
    """The fields of one message that it holds, by name."""

    integers: dict[str, int] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    lists: dict[str, list[int]] = field(default_factory=dict)
    many: dict[str, list[Span]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


class Reader:
    """One file in memory. Offsets are checked before a byte is read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._fields = 0

    def message(self, schema: Schema, span: Span) -> Message:
        """Returns the message in `span`. Raises Damaged where it holds anything that `schema` does not."""
        message, (position, end) = Message(), span
        while position < end:
            tag, position = self._varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            name, kind = schema.fields.get(number, ("", ""))
            if wire_type not in _WIRE_TYPES.get(kind, ()):
                raise Damaged(f"the fields of {schema.name} that bundles use", f"field {number}")
            if kind in _SINGLE and name in message.seen:
                raise Damaged(f"one {name} in {schema.name}", "several")
            message.seen.add(name)
            position = self._field(message, name, kind, wire_type, position, end)
        return message

    def name(self, span: Span) -> str:
        """Returns a name. Raises Damaged where it is long, or has other than ASCII's printable characters."""
        if span.end - span.start > 1024:
            raise Damaged("names of at most 1024 bytes", f"one of {span.end - span.start}")
        content = self.content[span.start : span.end]
        if not content.isascii() or not (name := content.decode("ascii")).isprintable():
            raise Damaged("names of printable ASCII characters", "others")
        return name

    def _field(self, message: Message, name: str, kind: str, wire_type: int, position: int, end: int) -> int:
        """Reads one field's value into `message`; returns the position behind it."""
        self._count(1)
        if wire_type == _LENGTH:
            size, position = self._varint(position, end)
            if size > end - position:
                raise Damaged("a whole file", "one that is cut off")
            self._bytes(message, name, kind, Span(position, position + size))
            return position + size
        if wire_type == _FIXED32:
            if end - position < 4:
                raise Damaged("a whole file", "one that is cut off")
            return position + 4
        value, position = self._varint(position, end)
        if kind == INTEGER:
            message.integers[name] = _signed(value)
        else:
            message.lists.setdefault(name, []).append(_signed(value))
        return position

    def _bytes(self, message: Message, name: str, kind: str, span: Span) -> None:
        if kind == BYTES:
            message.spans[name] = span
        elif kind == MANY:
            message.many.setdefault(name, []).append(span)
        elif kind == INTEGERS:
            position, values = span.start, message.lists.setdefault(name, [])
            while position < span.end:
                self._count(1)
                value, position = self._varint(position, span.end)
                values.append(_signed(value))
        elif (span.end - span.start) % 4:
            raise Damaged("a whole file", "one that is cut off")

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Returns the integer at `position` and the position behind it."""
        content, value, shift = self.content, 0, 0
        if position < end and (byte := content[position]) < 0x80:  # nearly all are short
            return byte, position + 1
        while position < end and shift < 64:
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, position
            shift += 7
        raise Damaged("a whole file", "one that is cut off" if position >= end else "an endless number")

    def _count(self, fields: int) -> None:
        self._fields += fields
        if self._fields > MOST_FIELDS:
            raise Damaged(f"at most {MOST_FIELDS} fields", "more")


def _signed(value: int) -> int:
    """Returns an unsigned 64-bit integer as a signed one."""
    return value - (1 << 64) if value >> 63 else value


def quoted(name: str) -> str:
    """Returns a name for a message: whole, or its start where it is long."""
    return f"'{name}'" if len(name) <= 80 else f"'{name[:77]}...'"
