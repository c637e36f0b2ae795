"""CUDA through cuda-bindings: the memory, streams, events and graphs that an engine needs.

Every call is checked; an error becomes a BackendError with CUDA's own name for it.
Every resource is freed once, by close() or when nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime

from ..errors import BackendError
from .dlpack import LEGACY_STREAM
from .tensorrt.cache import Gpu

_LOG = logging.getLogger(__name__)
_NO_GPU = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")
_NO_MEMORY = "cudaErrorMemoryAllocation"


def checked(action: str, answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """Returns the value in a CUDA function's `answer`; raises BackendError with CUDA's name of an error."""
    error, *values = answer
    if error.value:  # of the runtime's or the driver's enumeration; both call 0 a success
        raise BackendError(f"CUDA cannot {action} ({_description(error)}); {_cure(error.name)}")
    return values[0] if values else None


def current_device() -> int:
    """Returns the index of this thread's GPU. Raises BackendError in one line where there is none."""
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaSuccess and count:
        return int(checked("name its device", runtime.cudaGetDevice()))
    raise BackendError(f"no GPU here ({_description(error)}); choose backend onnxruntime or openvino")


def current_gpu() -> Gpu:
    """Returns this thread's GPU. Raises BackendError in one line where there is none."""
    properties = checked("describe its device", runtime.cudaGetDeviceProperties(current_device()))
    return Gpu(properties.name.decode().rstrip("\0"), 10 * properties.major + properties.minor)


def use_device(device: int) -> None:
    """Makes `device` this thread's GPU: every thread starts with GPU 0, whatever its parent used."""
    checked(f"use GPU {device}", runtime.cudaSetDevice(device))


def memory_device(address: int) -> int | None:
    """Returns the GPU whose memory is at `address`; None for memory that every GPU reaches.

    Every GPU reaches managed memory and page-locked host memory, which a Jetson's cameras deliver.
    Raises BackendError for an address that CUDA does not know.
    """
    pointer = checked("look up an address", runtime.cudaPointerGetAttributes(address))
    kinds = runtime.cudaMemoryType
    # Page-locked memory of the host may have another address on the device, or none.
    if pointer.type == kinds.cudaMemoryTypeUnregistered or int(pointer.devicePointer) != address:
        raise BackendError(f"address {address:#x} is not memory that a GPU reaches; give a device array")
    return int(pointer.device) if pointer.type == kinds.cudaMemoryTypeDevice else None


class DeviceBuffer:
    """`size` bytes of the current GPU's memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.address = int(checked(f"allocate {size} bytes on the GPU", runtime.cudaMalloc(size)))
        self._free = weakref.finalize(self, _destroy, "device memory", runtime.cudaFree, self.address)

    def close(self) -> None:
        self._free()


class PinnedBuffer:
    """`size` bytes of page-locked host memory, which a GPU can read and write directly."""

    def __init__(self, size: int) -> None:
        self.address = int(checked(f"allocate {size} pinned bytes", runtime.cudaMallocHost(size)))
        self._free = weakref.finalize(self, _destroy, "pinned memory", runtime.cudaFreeHost, self.address)
        self._bytes: npt.NDArray[np.uint8] = np.ctypeslib.as_array(
            (ctypes.c_uint8 * size).from_address(self.address)
        )

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Returns a view of its first bytes as an array."""
        size = int(np.prod(shape)) * dtype.itemsize
        return self._bytes[:size].view(dtype).reshape(shape)

    def close(self) -> None:
        self._free()


class Event:
    """A mark in a stream that the host or another stream can wait for."""

    def __init__(self) -> None:
        flags = runtime.cudaEventDisableTiming
        self._handle = checked("create an event", runtime.cudaEventCreateWithFlags(flags))
        self._free = weakref.finalize(self, _destroy, "an event", runtime.cudaEventDestroy, self._handle)

    def record(self, stream: int) -> None:
        """Places the mark after the work that `stream` has so far."""
        checked("record an event", runtime.cudaEventRecord(self._handle, stream))

    def synchronize(self) -> None:
        """Waits on the host until the GPU has passed the mark."""
        checked("finish its work", runtime.cudaEventSynchronize(self._handle))

    def hold_back(self, stream: int) -> None:
        """Makes later work on `stream` wait for the mark."""
        checked("wait for a stream", runtime.cudaStreamWaitEvent(stream, self._handle, 0))

    def close(self) -> None:
        self._free()


class Stream:
    """A queue of work for the GPU: a new one, or the caller's, which close() leaves alone."""

    def __init__(self, callers: object = None) -> None:
        """`callers`: a handle or another library's stream, as stream_handle takes it; it is kept alive."""
        self._free: Callable[[], object] = lambda: None
        self._callers = callers
        handle = None if callers is None else stream_handle(callers)
        if handle is None:
            # Non-blocking: it must not wait for the legacy stream, which others in this process may use.
            flags = runtime.cudaStreamNonBlocking
            created = checked("create a stream", runtime.cudaStreamCreateWithFlags(flags))
            self._free = weakref.finalize(self, _destroy, "a stream", runtime.cudaStreamDestroy, created)
            handle = int(created)
        self.handle = handle or LEGACY_STREAM

    def to_device(self, target: int, source: int, size: int) -> None:
        """Queues a copy of `size` bytes from pinned memory to the GPU."""
        self._copy(target, source, size, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def to_host(self, target: int, source: int, size: int) -> None:
        """Queues a copy of `size` bytes to host memory."""
        self._copy(target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def on_device(self, target: int, source: int, size: int) -> None:
        """Queues a copy of `size` bytes between addresses that the GPU reaches."""
        self._copy(target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDefault)

    def synchronize(self) -> None:
        """Waits until all queued work is done."""
        checked("finish its work", runtime.cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        self._free()

    def _copy(self, target: int, source: int, size: int, kind: runtime.cudaMemcpyKind) -> None:
        checked("copy", runtime.cudaMemcpyAsync(target, source, size, kind, self.handle))


class Graph:
    """A CUDA graph: work that is recorded once and launched as one piece."""

    def __init__(self, stream: Stream, enqueue: Callable[[], None]) -> None:
        """Records the work that `enqueue` puts on `stream`, which must not be the caller's; nothing runs."""
        recorded = _record(stream, enqueue)
        try:
            self._handle = checked("instantiate a graph", runtime.cudaGraphInstantiate(recorded, 0))
        finally:
            _destroy("a recorded graph", runtime.cudaGraphDestroy, recorded)
        self._free = weakref.finalize(self, _destroy, "a graph", runtime.cudaGraphExecDestroy, self._handle)

    def launch(self, stream: Stream) -> None:
        """Queues the recorded work."""
        checked("launch a graph", runtime.cudaGraphLaunch(self._handle, stream.handle))

    def close(self) -> None:
        self._free()


def stream_handle(stream: Any) -> int:  # noqa: ANN401
    """Returns the handle of a CUDA stream: itself, or that of a library's stream object.

    Libraries: PyCUDA and Numba (`handle`), torch (`cuda_stream`), CuPy (`ptr`), cuda-python (int), and those
    with `__cuda_stream__`. Raises BackendError for anything else.
    """
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    attributes = ("handle", "cuda_stream", "ptr")
    handle = next((getattr(stream, name) for name in attributes if hasattr(stream, name)), stream)
    try:
        return int(getattr(handle, "value", handle) or 0)  # ctypes holds it in `value`
    except (TypeError, ValueError) as error:
        raise BackendError(
            "stream: expected a CUDA stream's handle or a stream of PyCUDA, cuda-python, torch or CuPy, "
            f"found {type(stream).__module__}.{type(stream).__name__}; give one of these"
        ) from error


def follow(stream: int, other: int) -> None:
    """Makes later work on `stream` wait for the work that `other` has so far; both are handles."""
    event = Event()
    try:
        event.record(other)
        event.hold_back(stream)
    finally:
        event.close()


def _record(stream: Stream, enqueue: Callable[[], None]) -> Any:  # noqa: ANN401
    """Returns CUDA's graph of the work that `enqueue` puts on `stream`."""
    # This thread only: other threads may allocate meanwhile, which a global capture forbids.
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    checked("begin a capture", runtime.cudaStreamBeginCapture(stream.handle, mode))
    try:
        enqueue()
    except BaseException:
        _, recorded = runtime.cudaStreamEndCapture(stream.handle)  # or the stream stays unusable
        if recorded is not None and int(recorded):
            _destroy("a recorded graph", runtime.cudaGraphDestroy, recorded)
        runtime.cudaGetLastError()  # clears it, or the next caller takes this error for its own
        raise
    return checked("end a capture", runtime.cudaStreamEndCapture(stream.handle))


def _destroy(what: str, free: Callable[[Any], tuple[Any]], handle: Any) -> None:  # noqa: ANN401
    """Frees `handle` and logs an error instead of raising it: another error may be under way."""
    (error,) = free(handle)
    if error != runtime.cudaError_t.cudaSuccess:
        _LOG.warning("CUDA cannot free %s (%s)", what, _description(error))


def _description(error: Any) -> str:  # noqa: ANN401
    if not isinstance(error, runtime.cudaError_t):
        return str(error.name)  # the driver's, which says enough
    _, text = runtime.cudaGetErrorString(error)
    return f"{error.name}: {text.decode()}"


def _cure(name: str) -> str:
    if name in _NO_GPU:
        return "no GPU here: choose backend onnxruntime or openvino"
    if name == _NO_MEMORY:
        return "free memory, or build engines for fewer prompts"
    return "start again; where it stays, choose backend onnxruntime or openvino"
