"""Sizes of tensors as formulas in the numbers of prompts and of points.

A decoder's inputs leave both numbers open, so the sizes inside it are formulas. Those of our graphs are
products of sums, such as 8 * N * (7 + P); another formula is Unclear. runtime/src/bundle/sizes.cpp does the
same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PROMPTS, POINTS = 64, 16
"""Numbers of prompts, and of points of each, that a graph's cost is measured at."""
LARGEST = 1 << 30
"""Largest number in a formula that is computed with."""
MOST_AXES = 8
"""Most axes of a tensor."""
ENDLESS = 1 << 60
"""Stands for every count above it."""

Sum = tuple[int, int]
"""A constant and a slope: `constant + slope * number`, with a number of prompts or of points."""
_PLAIN = (1, 0)


class Unclear(Exception):
    """A shape that does not follow from those of the inputs, or a formula of another form."""


@dataclass(frozen=True)
class Size:
    """factor * prompts * points, where both are sums without a common divisor.

    Unless it is a plain number, the factor is positive and no other number is negative.
    """

    factor: int
    prompts: Sum = _PLAIN
    points: Sum = _PLAIN

    @property
    def is_number(self) -> bool:
        return self.prompts == self.points == _PLAIN

    def number(self) -> int:
        """Returns a plain number. Raises Unclear where it is none."""
        require(self.is_number)
        return self.factor

    def count(self) -> int:
        """Returns the size at PROMPTS and POINTS. Raises Unclear where it is negative."""
        _require_small(self)
        require(self.factor >= 0)
        (n, by_prompts), (p, by_points) = self.prompts, self.points
        return product([self.factor, n + by_prompts * PROMPTS, p + by_points * POINTS])

    def __add__(self, other: Size) -> Size:
        _require_small(self, other)
        if self.factor == 0 or other.factor == 0:
            return other if self.factor == 0 else self
        if self.prompts == other.prompts:
            factor, points = _added(self.factor, self.points, other.factor, other.points)
            return _made(factor, self.prompts, points)
        require(self.points == other.points)
        factor, prompts = _added(self.factor, self.prompts, other.factor, other.prompts)
        return _made(factor, prompts, self.points)

    def __mul__(self, other: Size) -> Size:
        _require_small(self, other)
        require(_PLAIN in (self.prompts, other.prompts) and _PLAIN in (self.points, other.points))
        prompts = other.prompts if self.prompts == _PLAIN else self.prompts
        points = other.points if self.points == _PLAIN else self.points
        return _made(self.factor * other.factor, prompts, points)

    def __floordiv__(self, other: Size) -> Size:
        """Returns the quotient. Raises Unclear where there is a remainder."""
        _require_small(self, other)
        require(other.factor > 0 and self.factor % other.factor == 0)
        require(other.prompts in (_PLAIN, self.prompts) and other.points in (_PLAIN, self.points))
        prompts = self.prompts if other.prompts == _PLAIN else _PLAIN
        points = self.points if other.points == _PLAIN else _PLAIN
        return _made(self.factor // other.factor, prompts, points)


ONE = Size(1)
Shape = tuple[Size, ...]


def require(condition: bool) -> None:
    """Raises Unclear where the condition does not hold."""
    if not condition:
        raise Unclear


def product(counts: Iterable[int]) -> int:
    """Returns the product of counts, at most ENDLESS."""
    result = 1
    for each in counts:
        result = min(result * each, ENDLESS)
    return result


def elements(shape: Iterable[Size]) -> int:
    """Returns the number of elements of a tensor at PROMPTS and POINTS."""
    return product(size.count() for size in shape)


def product_of(shape: Iterable[Size]) -> Size:
    """Returns the product of sizes as a formula."""
    result = ONE
    for size in shape:
        result = result * size
    return result


def _made(factor: int, prompts: Sum, points: Sum) -> Size:
    if factor == 0:
        return Size(0)
    size = Size(factor, prompts, points)
    require(factor > 0 or size.is_number)
    return size


def _added(factor: int, one: Sum, other_factor: int, other: Sum) -> tuple[int, Sum]:
    """Returns factor * one + other_factor * other as a factor and a sum."""
    constant = factor * one[0] + other_factor * other[0]
    slope = factor * one[1] + other_factor * other[1]
    if slope == 0:
        return constant, _PLAIN
    require(constant >= 0 and slope > 0)
    divisor = math.gcd(constant, slope)
    return divisor, (constant // divisor, slope // divisor)


def _require_small(*sizes: Size) -> None:
    for size in sizes:
        require(all(abs(number) <= LARGEST for number in (size.factor, *size.prompts, *size.points)))
