"""JSON objects of bundle.json, whose fields are read by name and type, with a refusal in one line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from ..errors import BundleError
from .spec import Dimension, TensorSpec

_LARGEST = 1e30  # well within float32, in which the graphs compute
# As in C++ (text.cpp): controls, and what shows nothing or turns the direction of writing.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_KIND_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
_Kind = TypeVar("_Kind", dict[str, object], list[object], str, bool)


@dataclass(frozen=True)
class Fields:
    """A JSON object whose fields are read by name and type; `where` is its path in error messages."""

    values: dict[str, object]
    where: str = ""

    def take(self, name: str) -> object:
        if name not in self.values:
            raise BundleError(f"bundle.json: {self.where}{name} is missing; export the bundle again")
        return self.values[name]

    def get(self, name: str, kind: type[_Kind]) -> _Kind:
        value = self.take(name)
        if not isinstance(value, kind):
            raise refuse(f"{self.where}{name}", _KIND_NAMES[kind], value)
        return value

    def label(self, name: str) -> str:
        """Returns a text that is shown to people: without characters that a terminal acts on."""
        value = self.get(name, str)
        if _HIDDEN.search(name + value):
            raise refuse(f"{self.where}{name}", "text without control characters", value)
        return value

    def fields(self, name: str) -> Fields:
        return Fields(self.get(name, dict), f"{self.where}{name}.")

    def integer(self, name: str, least: int = 0) -> int:
        value = self.take(name)
        if not _is_integer(value) or value < least:
            raise refuse(f"{self.where}{name}", f"an integer of at least {least}", value)
        return value

    def number(self, name: str, positive: bool = False) -> float:
        return _number(f"{self.where}{name}", self.take(name), positive)

    def rgb(self, name: str, positive: bool = False) -> tuple[float, float, float]:
        values = self.get(name, list)
        if len(values) != 3:
            raise refuse(f"{self.where}{name}", "three numbers (R, G, B)", values)
        red, green, blue = (_number(f"{self.where}{name}", value, positive) for value in values)
        return red, green, blue

    def strings(self, name: str) -> tuple[str, ...]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise refuse(f"{self.where}{name}", "a list of strings", values)
        return tuple(map(str, values))

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        where = f"{self.where}{name}"
        return tuple(_tensor(f"{where}[{i}]", v) for i, v in enumerate(self.get(name, list)))


def _is_integer(value: object) -> TypeGuard[int]:
    """Returns whether `value` is an integer of 64 bits; bool is a subclass of int, and no size."""
    return isinstance(value, int) and not isinstance(value, bool) and value < 1 << 63


def _number(where: str, value: object, positive: bool) -> float:
    # A comparison is false for NaN, and unlike math.isfinite() it takes an integer of any length.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -_LARGEST < value < _LARGEST
        or (positive and value <= 0)
    ):
        raise refuse(where, "a positive number" if positive else "a finite number", value)
    return float(value)


def _tensor(where: str, value: object) -> TensorSpec:
    if not isinstance(value, dict):
        raise refuse(where, "an object", value)
    tensor = Fields(value, f"{where}.")
    shape = tuple(_dimension(f"{where}.shape", size) for size in tensor.get("shape", list))
    return TensorSpec(tensor.get("name", str), tensor.get("dtype", str), shape)


def _dimension(where: str, value: object) -> Dimension:
    if not isinstance(value, str) and not _is_integer(value):
        raise refuse(where, "integers and names of dynamic dimensions", value)
    return value


def refuse(where: str, expected: str, value: object) -> BundleError:
    """Returns the error for a `value` at `where`, which must be `expected`."""
    shown = json.dumps(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return BundleError(f"bundle.json: {where} must be {expected}, found {shown}; export the bundle again")
