"""Rules for the values of a settings file, in words for the user and as a check."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from glesam.config import is_finite
from glesam_runtime.errors import InputError


@dataclass(frozen=True)
class Rule:
    """`expected` follows "expected" in an error; `fits` takes a value as JSON gives it."""

    expected: str
    fits: Callable[[Any], bool]


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], source: str) -> None:
    """Raises InputError for a key without a rule, and for a value that does not fit its own."""
    for key, value in values.items():
        if key not in rules:
            raise InputError(f"{source}: unknown key {key!r}; expected {', '.join(rules)}")
        if not rules[key].fits(value):
            raise InputError(f"{source}: {key} is {json.dumps(value)}; expected {rules[key].expected}")


def positive() -> Rule:
    return Rule("a number above 0", lambda v: is_finite(v) and v > 0)


def at_least_zero() -> Rule:
    return Rule("a number, 0 or more", lambda v: is_finite(v) and v >= 0)


def fraction() -> Rule:
    return Rule("a number from 0 to 1", lambda v: is_finite(v) and 0 <= v <= 1)


def whole(low: int, multiple: int = 1, high: float = math.inf) -> Rule:
    bounds = f"{low} or more" if high == math.inf else f"{low} to {high:.0f}"
    also = f", a multiple of {multiple}" if multiple > 1 else ""
    return Rule(
        f"a whole number, {bounds}{also}", lambda v: type(v) is int and low <= v <= high and v % multiple == 0
    )


def switch() -> Rule:
    return Rule("true or false", lambda v: isinstance(v, bool))


def choice(values: Any) -> Rule:  # noqa: ANN401 - a Literal
    return Rule(f"one of {', '.join(get_args(values))}", lambda v: v in get_args(values))


def pair(each: Rule, high: float = math.inf) -> Rule:
    """A range, low end first; `each` is the rule of both ends, none of which may exceed `high`."""

    def fits(value: Any) -> bool:  # noqa: ANN401
        return (
            isinstance(value, list)
            and len(value) == 2
            and all(map(each.fits, value))
            and value[0] <= value[1] <= high
        )

    bound = f", up to {high:g}" if high != math.inf else ""
    return Rule(f"a range [low, high], each {each.expected}{bound}", fits)


def optional(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or null", lambda v: v is None or rule.fits(v))
