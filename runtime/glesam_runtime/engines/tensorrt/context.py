"""The CUDA context that an engine and its memory live in.

CUDA's runtime, and with it torch, CuPy and cuda-python, keeps to the primary context of a GPU. PyCUDA makes
contexts of its own: `pycuda.autoinit` leaves one current, and its arrays and streams exist in it alone.
An engine therefore stays in the context in which it was opened, whichever thread calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cuda.bindings import driver

from ...errors import BackendError
from .. import cuda


class Context:
    """This thread's CUDA context; where it has none, the primary one of its GPU."""

    def __init__(self) -> None:
        """Raises BackendError in one line where there is no GPU."""
        self.device = cuda.current_device()
        self._handle = _current()
        if not self._handle:
            cuda.use_device(self.device)  # makes its primary context current
            self._handle = _current()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes the context current for the block, and afterwards what was current before."""
        if _current() == self._handle:
            yield
            return
        cuda.checked("enter the context of an engine", driver.cuCtxPushCurrent(self._handle))
        try:
            yield
        finally:
            driver.cuCtxPopCurrent()

    def check_memory(self, name: str, address: int) -> None:
        """Raises BackendError for memory on another GPU or of another context: no kernel may read it."""
        device = cuda.memory_device(address)
        if device not in (None, self.device):
            raise BackendError(
                f"{name}: expected an array on GPU {self.device}, where the engine is, found one on another; "
                "copy it there"
            )
        if device is not None and _owner(address) not in (0, self._handle):
            raise BackendError(
                f"{name}: the array belongs to another CUDA context than the engine; open the predictor "
                "while the array's context is current (with PyCUDA: after pycuda.autoinit), or copy the array"
            )


def _current() -> int:
    """Returns the handle of this thread's context; 0 where it has none."""
    return int(cuda.checked("name its context", driver.cuCtxGetCurrent()))


def _owner(address: int) -> int:
    """Returns the handle of the context that allocated device memory; 0 where it belongs to none.

    Memory of a stream-ordered pool (cudaMallocAsync, in CuPy, RMM and torch) is the GPU's, not a context's.
    """
    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
    error, owner = driver.cuPointerGetAttribute(attribute, address)
    return 0 if error.value else int(owner or 0)
