"""TensorRT and TensorRT for RTX as a backend. More prompts than an engine takes are run in pieces."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.spec import GraphSpec
from ...errors import BackendError
from ..base import AnyTensors, Array, closed_engine, run_checked
from ..device_array import DeviceArray, device_array, is_on_device
from .compiled import Compiled, deserialize
from .library import Library
from .session import Session

PROMPTS, POINTS = "num_prompts", "num_points"
"""Names of the dynamic dimensions in docs/bundle.md."""


class TensorRtEngine:
    """A session on a deserialized engine. Its calls take turns; a thread that must not wait needs its own."""

    def __init__(
        self, compiled: Compiled, stream: object = None, opener: TensorRtEngine | None = None
    ) -> None:
        """Allocates a session. `stream`: the caller's CUDA stream. `opener`: the engine that it came from."""
        self._spec = compiled.spec
        self._compiled: Compiled | None = compiled
        self._session: Session | None = Session(compiled, stream)
        self._lock = threading.Lock()
        self._opener = opener
        self._sessions: weakref.WeakSet[TensorRtEngine] = weakref.WeakSet()

    @classmethod
    def from_plan(
        cls, library: Library, plan: bytes, spec: GraphSpec, path: Path, stream: object = None
    ) -> TensorRtEngine:
        """Opens the engine in `plan`, built from the graph at `path`. Raises BackendError as deserialize."""
        return cls(deserialize(library, plan, spec, path), stream)

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: AnyTensors, on_device: bool = False) -> dict[str, Any]:
        with self._lock:
            if self._session is None or self._compiled is None:
                raise closed_engine(self._spec)
            session, compiled = self._session, self._compiled
            arrays = {name: _as_ours(name, value, session, compiled) for name, value in feeds.items()}
            return run_checked(
                self._spec,
                arrays,
                lambda checked: _infer(session, compiled, checked, on_device),
                (np.ndarray, DeviceArray),
            )

    def new_session(self, stream: object = None) -> TensorRtEngine:
        opener = self._opener or self
        with opener._lock:
            if opener._compiled is None:
                raise closed_engine(self._spec)
            session = TensorRtEngine(opener._compiled, stream, opener)
            opener._sessions.add(session)
        return session

    def close(self) -> None:
        with self._lock:
            sessions, session = list(self._sessions), self._session
            self._compiled, self._session = None, None
            if session is not None:
                session.close()
        for each in sessions:
            each.close()


def _as_ours(name: str, value: Any, session: Session, compiled: Compiled) -> Any:  # noqa: ANN401
    """Returns another library's device array as a DeviceArray, without a copy; anything else unchanged."""
    if isinstance(value, np.ndarray) or not is_on_device(value):
        return value
    array = device_array(name, value, session.stream.handle)
    if array is not value:
        compiled.context.check_memory(name, array.address)
    return array


def _infer(session: Session, compiled: Compiled, feeds: AnyTensors, on_device: bool) -> dict[str, Any]:
    """Runs checked feeds, in pieces where they hold more prompts than the engine takes at once."""
    sizes = sizes_of(compiled.spec, feeds)
    limit = compiled.limits.get(PROMPTS, 1)
    points = sizes.get(POINTS, 0)
    if points > compiled.limits.get(POINTS, points):
        raise BackendError(
            f"{compiled.spec.name}: this engine takes at most {compiled.limits[POINTS]} points per prompt, "
            f"found {points}; give fewer, or build it again with glesam-build for more"
        )
    if sizes.get(PROMPTS, 1) <= limit:
        return session.run(feeds, _shapes(compiled.spec, sizes), on_device)
    if on_device:
        raise BackendError(
            f"{compiled.spec.name}: this engine leaves at most {limit} prompts' answers on the device, found "
            f"{sizes[PROMPTS]}; ask for fewer at a time"
        )
    return joined(
        [
            session.run(piece, _shapes(compiled.spec, sizes_of(compiled.spec, piece)), on_device=False)
            for piece in pieces(compiled.spec, feeds, sizes[PROMPTS], limit)
        ]
    )


def _shapes(spec: GraphSpec, sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the outputs where the dynamic dimensions have `sizes`."""
    return {
        tensor.name: tuple(sizes[size] if isinstance(size, str) else size for size in tensor.shape)
        for tensor in spec.outputs
    }


def sizes_of(spec: GraphSpec, feeds: Mapping[str, Any]) -> dict[str, int]:
    """Returns the size of each dynamic dimension in `feeds`."""
    return {
        name: size
        for tensor in spec.inputs
        for name, size in zip(tensor.shape, feeds[tensor.name].shape, strict=True)
        if isinstance(name, str)
    }


def pieces(spec: GraphSpec, feeds: Mapping[str, Any], prompts: int, limit: int) -> Iterator[dict[str, Any]]:
    """Yields the feeds of `prompts` prompts, at most `limit` at a time; other tensors are in every piece."""
    per_prompt = [tensor.name for tensor in spec.inputs if tensor.shape[0] == PROMPTS]
    for start in range(0, prompts, limit):
        rows = slice(start, min(start + limit, prompts))
        yield {name: array[rows] if name in per_prompt else array for name, array in feeds.items()}


def joined(answers: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Returns the outputs for all pieces as the outputs for all prompts."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
