"""Which GPU this machine has, asked of CUDA. No driver and no GPU is an answer, not an error."""

from __future__ import annotations

from ...errors import BackendError
from .cache import Gpu


def this_gpu() -> Gpu | None:
    """This thread's GPU; None where there is none, no driver, or no cuda-bindings to ask with."""
    try:
        from ..cuda import current_gpu

        return current_gpu()
    except (ImportError, BackendError):
        return None
