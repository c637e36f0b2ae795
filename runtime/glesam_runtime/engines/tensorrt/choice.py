"""Which TensorRT has engines for a bundle and this machine's GPU: what "auto" asks first."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundle.reader import Bundle
from ...errors import BackendError
from .cache import ANY_GPU, EngineRecord, Gpu
from .library import Library, load_library
from .this_gpu import this_gpu


def cached_tensorrt(bundle: Bundle, records: Sequence[EngineRecord]) -> tuple[str, str] | None:
    """The backend and why; None where no GPU answers, or not all graphs have an engine for it.

    records: the bundle's cached_engines.
    """
    gpu = this_gpu()
    if gpu is None:
        return None
    for backend in sorted({record.key.library for record in records}):
        try:
            library = load_library(backend)
        except (BackendError, KeyError):  # KeyError: the record of a backend that is not known here
            continue
        if _graphs_for(gpu, library, records) >= set(bundle.manifest.graphs):
            return backend, f"auto: the bundle's engines for {gpu} are cached"
    return None


def _graphs_for(gpu: Gpu, library: Library, records: Sequence[EngineRecord]) -> set[str]:
    """The graphs that have an engine for this GPU and library."""
    return {
        key.graph
        for key in (record.key for record in records)
        if (key.library, key.version) == (library.backend, library.version)
        if key.compute_capability == gpu.compute_capability and key.gpu in (gpu.name, ANY_GPU)
    }
