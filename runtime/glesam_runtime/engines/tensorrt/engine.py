"""TensorRT and TensorRT for RTX as a backend."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.spec import GraphSpec
from ...errors import BackendError
from ..base import AnyTensors, closed_engine, run_checked
from ..cuda import memory_device
from ..device_array import DeviceArray, device_array, is_on_device
from .compiled import Compiled, deserialize
from .library import Library
from .pieces import POINTS, PROMPTS, joined, pieces, sizes_of
from .session import Session


class TensorRtEngine:
    """A session on a deserialized engine. Its calls take turns: a thread that shall not wait has its own."""

    def __init__(
        self, compiled: Compiled, stream: int | None = None, opener: TensorRtEngine | None = None
    ) -> None:
        """`stream`: the caller's CUDA stream. `opener`: the engine whose session this is."""
        self._spec = compiled.spec
        self._compiled: Compiled | None = compiled
        self._session: Session | None = Session(compiled, stream)
        self._lock = threading.Lock()
        self._opener = opener
        self._sessions: weakref.WeakSet[TensorRtEngine] = weakref.WeakSet()

    @classmethod
    def from_plan(
        cls, library: Library, plan: bytes, spec: GraphSpec, path: Path, stream: int | None = None
    ) -> TensorRtEngine:
        """Run the engine in `plan`, built from the graph at `path`. Raises BackendError where that fails."""
        return cls(deserialize(library, plan, spec, path), stream)

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: AnyTensors, on_device: bool = False) -> dict[str, Any]:
        with self._lock:
            if self._session is None or self._compiled is None:
                raise closed_engine(self._spec)
            session, compiled = self._session, self._compiled
            taken = {name: _taken(name, value, session, compiled) for name, value in feeds.items()}
            return run_checked(
                self._spec,
                taken,
                lambda checked: _infer(session, compiled, checked, on_device),
                (np.ndarray, DeviceArray),
            )

    def new_session(self, stream: int | None = None) -> TensorRtEngine:
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


def _taken(name: str, value: Any, session: Session, compiled: Compiled) -> Any:  # noqa: ANN401
    """Another library's device array as one of ours, without a copy; anything else as it is."""
    if isinstance(value, np.ndarray) or not is_on_device(value):
        return value
    array = device_array(name, value, session.stream.handle)
    if array is not value and memory_device(array.address) not in (None, compiled.device):
        raise BackendError(
            f"{name}: expected an array on GPU {compiled.device}, where the engine is, found one on another; "
            "copy it there"
        )
    return array


def _infer(session: Session, compiled: Compiled, feeds: AnyTensors, on_device: bool) -> dict[str, Any]:
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
    return {
        tensor.name: tuple(sizes[size] if isinstance(size, str) else size for size in tensor.shape)
        for tensor in spec.outputs
    }
