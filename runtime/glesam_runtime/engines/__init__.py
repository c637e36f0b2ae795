"""Backends: one small file each, opened by name and imported only when opened."""

from __future__ import annotations

from pathlib import Path

from ..bundle import Bundle
from ..errors import BackendError, first_line
from ..spec import GraphSpec
from .base import Engine
from .choice import (
    BACKEND_HELP,
    BACKENDS,
    INSTALL,
    INT8,
    KNOWN_BACKENDS,
    Candidate,
    candidates,
    computes_int8,
    pick_backend,
    place,
    split_backend,
)


def _onnxruntime(path: Path, spec: GraphSpec, precision: str, device: str, hint: str) -> Engine:
    from .onnxruntime import OnnxRuntimeEngine

    int8 = computes_int8(f"onnxruntime:{device}", precision)
    return OnnxRuntimeEngine(path, spec, int8=int8, device=device, hint=hint)


def _openvino(path: Path, spec: GraphSpec, precision: str, device: str, hint: str) -> Engine:
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(path, spec, precision, device, hint)


_OPEN = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def open_engine(backend: str, path: Path, spec: GraphSpec, precision: str = "fp32") -> Engine:
    """Compile the ONNX graph at `path`, which computes in `precision`, for `backend`: NAME[:DEVICE[:HINT]].

    Raises BackendError where the backend is unknown, its library or its device absent, or the graph refused.
    """
    chosen, _ = pick_backend(backend, precision)
    name, device, hint = split_backend(place(chosen, spec))
    try:
        return _OPEN[name](path, spec, precision, device, hint)
    except ImportError as error:
        raise BackendError(
            f"backend {name} cannot be imported ({first_line(error)}); {INSTALL[name]}"
        ) from error


def open_engines(backend: str, bundle: Bundle, enhance: bool = True) -> dict[str, Engine]:
    """Every graph of a bundle by its name; without `enhance`, all but GLE. Raises as open_engine does.

    "auto" picks for each graph: the fp32 decoder of a bf16 bundle runs in onnxruntime, beside openvino.
    """
    graphs = bundle.manifest.graphs
    return {
        name: open_engine(backend, bundle.graph_path(name), graph.spec, graph.precision)
        for name, graph in graphs.items()
        if enhance or name != "gle"
    }


__all__ = [
    "BACKENDS",
    "BACKEND_HELP",
    "INT8",
    "KNOWN_BACKENDS",
    "Candidate",
    "Engine",
    "candidates",
    "computes_int8",
    "open_engine",
    "open_engines",
    "pick_backend",
]
