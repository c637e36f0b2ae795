"""An honest stand-in for tests: the same checks as a real engine around a given function."""

from __future__ import annotations

from collections.abc import Callable

from ..bundle.spec import GraphSpec
from .base import Array, Tensors, closed_engine, run_checked


class FakeEngine:
    """Runs `function` in place of a graph and keeps every call's feeds in `calls`."""

    def __init__(self, spec: GraphSpec, function: Callable[[Tensors], dict[str, Array]]) -> None:
        self.calls: list[Tensors] = []
        self._spec = spec
        self._function = function
        self._closed = False

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: int | None = None) -> FakeEngine:
        return self

    def close(self) -> None:
        self._closed = True

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        if self._closed:
            raise closed_engine(self._spec)
        self.calls.append(feeds)
        return self._function(feeds)
