"""More prompts than an engine was built for: asked in pieces, answered as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...bundle.spec import GraphSpec
from ..base import Array

PROMPTS, POINTS = "num_prompts", "num_points"
"""The dynamic dimensions of docs/bundle.md's graphs."""


def sizes_of(spec: GraphSpec, feeds: Mapping[str, Any]) -> dict[str, int]:
    """The size that each dynamic dimension has in `feeds`."""
    return {
        name: size
        for tensor in spec.inputs
        for name, size in zip(tensor.shape, feeds[tensor.name].shape, strict=True)
        if isinstance(name, str)
    }


def pieces(spec: GraphSpec, feeds: Mapping[str, Any], prompts: int, limit: int) -> Iterator[dict[str, Any]]:
    """`feeds` of `prompts` prompts, `limit` at a time; what has no axis of prompts is in each."""
    split = [tensor.name for tensor in spec.inputs if tensor.shape[0] == PROMPTS]
    for start in range(0, prompts, limit):
        rows = slice(start, min(start + limit, prompts))
        yield {name: array[rows] if name in split else array for name, array in feeds.items()}


def joined(answers: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The answers to pieces as the answer to all."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
