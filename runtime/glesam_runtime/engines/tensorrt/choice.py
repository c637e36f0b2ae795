"""This machine's GPU, the TensorRT whose cached engines fit it, and those engines opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing

from ...bundle.reader import Bundle
from ...errors import BackendError, first_line
from ..base import Engine
from .build import engine_plan
from .cache import ANY_GPU, EngineRecord, Gpu
from .library import Library, load_library


def this_gpu() -> Gpu | None:
    """Returns this thread's GPU; None where there is no GPU, no driver or no cuda-bindings."""
    try:
        from ..cuda import current_gpu

        return current_gpu()
    except (ImportError, BackendError):
        return None


def cached_tensorrt(bundle: Bundle, records: Sequence[EngineRecord]) -> tuple[str, str] | None:
    """Returns the backend with an engine for this GPU and every graph, and why; None where there is none.

    records: the bundle's cached_engines.
    """
    gpu = this_gpu()
    if gpu is None:
        return None
    for backend in sorted({record.key.library for record in records}):
        try:
            library = load_library(backend)
        except (BackendError, KeyError):  # KeyError: a record of a backend that is not known here
            continue
        if _graphs_for(gpu, library, records) >= set(bundle.manifest.graphs):
            return backend, f"auto: the bundle's engines for {gpu} are cached"
    return None


def open_tensorrt(
    backend: str, bundle: Bundle, names: Sequence[str], stream: object = None
) -> dict[str, Engine]:
    """Opens the cached engines of the graphs `names` on the caller's `stream`, or each on its own.

    Raises BackendError, with nothing left open, where TensorRT, cuda-bindings, a GPU or an engine is missing.
    """
    library = load_library(backend)
    try:
        from ..cuda import current_gpu
        from .engine import TensorRtEngine
    except ImportError as error:
        raise BackendError(
            f"backend {backend}: cuda-bindings cannot be imported ({first_line(error)}); "
            f"pip install 'glesam[{backend}]'"
        ) from error
    gpu = current_gpu()
    with ExitStack() as opened:
        engines: dict[str, Engine] = {}
        for name in names:
            plan = engine_plan(library, bundle, name, gpu)
            spec, path = bundle.manifest.graphs[name].spec, bundle.graph_path(name)
            engines[name] = opened.enter_context(
                closing(TensorRtEngine.from_plan(library, plan, spec, path, stream))
            )
        opened.pop_all()
    return engines


def _graphs_for(gpu: Gpu, library: Library, records: Sequence[EngineRecord]) -> set[str]:
    """Returns the graphs that have an engine for this GPU and library."""
    return {
        key.graph
        for key in (record.key for record in records)
        if (key.library, key.version) == (library.backend, library.version)
        if key.compute_capability == gpu.compute_capability and key.gpu in (gpu.name, ANY_GPU)
    }
