"""Backends: one small file each, opened by name and imported only when opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..bundle import Bundle
from ..engine_cache import cached_engines
from ..errors import BackendError, first_line
from ..spec import GraphSpec
from .base import Engine

INT8 = "int8"
"""Begins the precision of a graph with int8 layers; the rest's follows: "int8+fp16"."""
KNOWN_BACKENDS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
"""Every backend this project names, whether this build has it or not."""


def _onnxruntime(path: Path, spec: GraphSpec, precision: str) -> Engine:
    from .onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(path, spec, int8=precision.startswith(INT8))


def _openvino(path: Path, spec: GraphSpec, precision: str) -> Engine:
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(path, spec, precision)


TENSORRT = ("tensorrt", "tensorrt-rtx")
"""The backends that run engines which glesam-build has made from a whole bundle."""
_OPEN = {"onnxruntime": _onnxruntime, "openvino": _openvino}
_INSTALL = {"onnxruntime": "pip install onnxruntime", "openvino": "pip install 'glesam[openvino]'"}

BACKENDS = (*_OPEN, *TENSORRT)
"""The backends of this build."""


def pick_backend(name: str, precision: str) -> tuple[str, str]:
    """The backend that `name` means for a bundle of `precision`, and why: ("onnxruntime", "as asked").

    Raises BackendError for a name that is unknown or that this build has not, and for a backend that
    cannot compute in `precision`.
    """
    if name == "auto":
        return _automatic(precision)
    if name not in BACKENDS:
        problem = "is not in this build" if name in KNOWN_BACKENDS else "is unknown"
        raise BackendError(f"backend {name!r} {problem}; choose auto or {' or '.join(BACKENDS)}")
    if name == "onnxruntime" and precision.endswith("bf16"):
        raise BackendError(
            f"backend onnxruntime has no bf16 arithmetic on a CPU, and the bundle is {precision}; "
            "choose openvino, or export with --precision fp32 or fp16"
        )
    return name, "as asked"


def pick_for_bundle(name: str, bundle: Bundle) -> tuple[str, str]:
    """As pick_backend, but "auto" is a TensorRT where a GPU answers and the bundle's engines are cached."""
    if name == "auto" and cached_engines(bundle.hash):  # else nothing of a GPU is even loaded
        from .tensorrt.choice import cached_tensorrt

        found = cached_tensorrt(bundle)
        if found is not None:
            return found
    return pick_backend(name, bundle.manifest.precision)


def _automatic(precision: str) -> tuple[str, str]:
    has_openvino = find_spec("openvino") is not None  # looked for, not loaded
    if precision.endswith("bf16"):
        if has_openvino:
            return "openvino", "auto: for bf16 graphs, which onnxruntime cannot compute on a CPU"
        raise BackendError(
            f"backend auto: the bundle is {precision}, which onnxruntime cannot compute on a CPU, and "
            f"openvino is not installed; {_INSTALL['openvino']}, or export with --precision fp32 or fp16"
        )
    if precision.startswith(INT8) and has_openvino:
        return "openvino", "auto: for int8 graphs, whose convolutions onnxruntime computes in float"
    return "onnxruntime", "auto: it is part of every installation"


def computes_int8(backend: str, precision: str) -> bool:
    """Whether a backend runs the int8 layers of such a graph in int8, rather than in float.

    ONNX Runtime 1.32 does for MatMul, and only where the rest is fp32: behind fp16 it fuses no Q/DQ.
    """
    return precision.startswith(INT8) and (backend == "openvino" or precision == "int8+fp32")


def open_engine(backend: str, path: Path, spec: GraphSpec, precision: str = "fp32") -> Engine:
    """Compile the ONNX graph at `path`, which computes in `precision`, for `backend`.

    Raises BackendError where the backend is unknown, its library absent, or the graph refused.
    """
    chosen, _ = pick_backend(backend, precision)
    if chosen in TENSORRT:
        raise BackendError(f"{path}: backend {chosen} runs the engines of a bundle, not a single graph")
    try:
        return _OPEN[chosen](path, spec, precision)
    except ImportError as error:
        raise BackendError(
            f"backend {chosen} cannot be imported ({first_line(error)}); {_INSTALL[chosen]}"
        ) from error


def open_engines(
    backend: str, bundle: Bundle, enhance: bool = True, stream: int | None = None
) -> dict[str, Engine]:
    """Every graph of a bundle by its name; without `enhance`, all but GLE. Raises as open_engine does.

    "auto" without engines for a GPU picks for each graph: the fp32 decoder of a bf16 bundle runs in
    onnxruntime, beside openvino. `stream`: the CUDA stream that a backend on a GPU shall run on.
    """
    graphs = {name: graph for name, graph in bundle.manifest.graphs.items() if enhance or name != "gle"}
    chosen, _ = pick_for_bundle(backend, bundle)
    if chosen in TENSORRT:
        from .tensorrt.open import open_tensorrt

        return open_tensorrt(chosen, bundle, list(graphs), stream)
    return {
        name: open_engine(backend, bundle.graph_path(name), graph.spec, graph.precision)
        for name, graph in graphs.items()
    }


__all__ = [
    "BACKENDS",
    "INT8",
    "KNOWN_BACKENDS",
    "TENSORRT",
    "Engine",
    "computes_int8",
    "open_engine",
    "open_engines",
    "pick_backend",
    "pick_for_bundle",
]
