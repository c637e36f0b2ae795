"""A Python function as a backend: PyTorch's unfolded model as the reference, and stand-ins in tests."""

from __future__ import annotations

from collections.abc import Callable

from ..bundle.spec import GraphSpec
from .base import Array, Tensors, closed_engine, run_checked

Function = Callable[[Tensors], dict[str, Array]]
"""From a graph's inputs to its outputs, both by name."""


class FunctionEngine:
    """Calls `function` in place of a graph, between the same checks as every other engine."""

    def __init__(self, spec: GraphSpec, function: Function) -> None:
        """`function` must allow calls from several threads at once, where the engine's callers do that."""
        self._spec = spec
        self._function: Function | None = function

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: object = None) -> FunctionEngine:
        return self

    def close(self) -> None:
        self._function = None

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        if self._function is None:
            raise closed_engine(self._spec)
        return self._function(feeds)
