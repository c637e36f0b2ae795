"""Backends: one small file each, opened by name, and imported only when opened."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from ..bundle.reader import Bundle, GraphContent
from ..bundle.spec import GraphSpec
from ..errors import BackendError, first_line
from .base import Engine, path_of
from .choice import (
    BACKEND_HELP,
    BACKENDS,
    INSTALL,
    INT8,
    ONNX_BACKENDS,
    TENSORRT,
    Candidate,
    candidates,
    computes_int8,
    device_of,
    pick_backend,
    place,
    split_backend,
)
from .cpus import checked_threads
from .tensorrt.cache import cached_engines


def _onnxruntime(
    graph: Path | GraphContent, spec: GraphSpec, precision: str, device: str, hint: str, threads: int
) -> Engine:
    from .onnxruntime import OnnxRuntimeEngine

    int8 = computes_int8(f"onnxruntime:{device}", precision)
    return OnnxRuntimeEngine(graph, spec, threads, int8, device, hint)


def _openvino(
    graph: Path | GraphContent, spec: GraphSpec, precision: str, device: str, hint: str, threads: int
) -> Engine:
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(graph, spec, precision, device, hint, threads)


_OPEN = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def pick_for_bundle(backend: str, bundle: Bundle) -> tuple[str, str]:
    """Returns the backend that `backend` means for a bundle, and why, as pick_backend does.

    "auto" is a TensorRT where this machine has a GPU and the cache has the bundle's engines for it. Otherwise
    graphs may differ (open_engines): the bundle's backend is the image encoder's, which is most of the work.
    """
    records = cached_engines(bundle.hash) if backend == "auto" else []
    if records:  # otherwise no library of a GPU is even loaded
        from .tensorrt.choice import cached_tensorrt

        choice = cached_tensorrt(bundle, records)
        if choice is not None:
            return choice
    return _pick_for_graph(backend, bundle, "image_encoder")


def _pick_for_graph(backend: str, bundle: Bundle, name: str) -> tuple[str, str]:
    """Returns the backend of one graph, and why: its precision counts, and what its int8 was made for."""
    graph = bundle.manifest.graphs[name]
    return pick_backend(backend, graph.precision, graph.int8.target if graph.int8 else "any")


def open_engine(
    backend: str, graph: Path | GraphContent, spec: GraphSpec, precision: str = "fp32", threads: int = 0
) -> Engine:
    """Compiles an ONNX graph, which computes in `precision`, for `backend`, NAME[:DEVICE[:HINT]].

    `graph`: a bundle's graph_content, which has been checked, or the path of a file that the caller trusts.
    `threads`: threads of the CPU, 0 for one on each core that this process may use.
    Raises BackendError where the backend is unknown, its library or its device absent, or the graph refused.
    """
    chosen, _ = pick_backend(backend, precision)
    if chosen in TENSORRT:
        raise BackendError(
            f"{path_of(graph)}: backend {chosen} runs the engines of a bundle, not a single graph"
        )
    name, device, hint = split_backend(place(chosen, spec))
    try:
        return _OPEN[name](graph, spec, precision, device, hint, threads)
    except ImportError as error:
        raise BackendError(
            f"backend {name} cannot be imported ({first_line(error)}); {INSTALL[name]}"
        ) from error


def open_engines(
    backend: str, bundle: Bundle, enhance: bool = True, stream: object = None, threads: int = 0
) -> dict[str, Engine]:
    """Returns the compiled graphs of a bundle by name; without `enhance`, all but GLE.

    Without cached TensorRT engines "auto" chooses for each graph: of a bf16 bundle openvino runs the encoder,
    and onnxruntime the fp32 decoder. `stream`: the CUDA stream for a backend on a GPU to run on.
    `threads`: threads of the CPU, 0 for one on each core that this process may use; a GPU ignores it.
    Raises BackendError as open_engine does, and where the model does not run without GLE.
    """
    checked_threads(threads)
    if bundle.manifest.needs_gle and not enhance:
        raise BackendError(
            f"model {bundle.manifest.name!r}: its decoder reads the features that graph gle restores, so it "
            "does not run without; open it with enhance, or run the command without --no-enhance"
        )
    graphs = {name: graph for name, graph in bundle.manifest.graphs.items() if enhance or name != "gle"}
    chosen, _ = pick_for_bundle(backend, bundle)
    if chosen in TENSORRT:
        from .tensorrt.choice import open_tensorrt

        return open_tensorrt(chosen, bundle, list(graphs), stream)
    engines = {}
    for name, graph in graphs.items():
        of_graph, _ = _pick_for_graph(backend, bundle, name)
        content = bundle.graph_content(name)
        engines[name] = open_engine(of_graph, content, graph.spec, graph.precision, threads)
    _return_freed_memory()
    return engines


def _return_freed_memory() -> None:
    """Gives the system what compiling used and freed, more than nano's weights: glibc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


__all__ = [
    "BACKENDS",
    "BACKEND_HELP",
    "INT8",
    "ONNX_BACKENDS",
    "TENSORRT",
    "Candidate",
    "Engine",
    "candidates",
    "computes_int8",
    "device_of",
    "open_engine",
    "open_engines",
    "pick_backend",
    "pick_for_bundle",
]
