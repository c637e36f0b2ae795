"""Backends: one small file each, opened by name and imported only when opened."""

from __future__ import annotations

from pathlib import Path

from ..bundle import Bundle
from ..errors import BackendError
from ..spec import GraphSpec
from .base import Engine

BACKENDS = ("onnxruntime",)
"""The backends of this build."""

KNOWN_BACKENDS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
"""Every backend this project names, whether this build has it or not."""


def pick_backend(name: str) -> tuple[str, str]:
    """The backend that `name` means here, and why: ("onnxruntime", "the only one in this build").

    Raises BackendError for a name that is unknown or that this build has not.
    """
    if name == "auto":
        return BACKENDS[0], "auto: the only backend in this build"
    if name in BACKENDS:
        return name, "as asked"
    problem = "is not in this build" if name in KNOWN_BACKENDS else "is unknown"
    raise BackendError(f"backend {name!r} {problem}; choose auto or {' or '.join(BACKENDS)}")


def open_engine(backend: str, path: Path, spec: GraphSpec) -> Engine:
    """Compile the ONNX graph at `path` for `backend`.

    Raises BackendError where the backend is unknown, its library absent, or the graph refused.
    """
    pick_backend(backend)
    try:
        from .onnxruntime import OnnxRuntimeEngine
    except ImportError as error:
        raise BackendError(
            f"backend onnxruntime cannot be imported ({error}); pip install onnxruntime"
        ) from error
    return OnnxRuntimeEngine(path, spec)


def open_engines(backend: str, bundle: Bundle, enhance: bool = True) -> dict[str, Engine]:
    """Every graph of a bundle by its name; without `enhance`, all but GLE. Raises as open_engine does."""
    graphs = bundle.manifest.graphs
    return {
        name: open_engine(backend, bundle.graph_path(name), graph.spec)
        for name, graph in graphs.items()
        if enhance or name != "gle"
    }


__all__ = ["BACKENDS", "KNOWN_BACKENDS", "Engine", "open_engine", "open_engines", "pick_backend"]
