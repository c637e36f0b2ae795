"""Which GPU this machine has, asked of CUDA. No driver and no GPU is an answer, not an error."""

from __future__ import annotations

from ...engine_cache import Gpu


def this_gpu() -> Gpu | None:
    """The first GPU; None where there is none, no driver, or no cuda-python to ask with."""
    try:
        from cuda.bindings import runtime  # type: ignore[import-untyped]
    except ImportError:
        return None
    error, properties = runtime.cudaGetDeviceProperties(0)
    if error != runtime.cudaError_t.cudaSuccess:
        return None
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(name.rstrip("\0"), 10 * properties.major + properties.minor)
