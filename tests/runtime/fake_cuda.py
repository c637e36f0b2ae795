"""A fake GPU for tests: real memory behind made-up addresses; streams run nothing until they are waited for.

Work is queued and done when somebody synchronises, so a copy that is read too early holds what was there
before. What CUDA calls undefined (memory used after it was freed, freed twice, a kernel that leaves its
memory, a context destroyed under its work) is kept in `FakeGpu.violations`, which a test must find empty.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

SUCCESS = real.cudaError_t.cudaSuccess
DEFAULT_STREAMS = (1, 2)
"""CUDA's handles of the legacy and the per-thread default stream, which are always there."""
PRIMARY = 0xC0DA
"""Handle of the GPU's primary context, in which CUDA's runtime works where no other one is current."""
_GARBAGE = 0xFF  # NaN, in float32


@dataclass
class Work:
    """One entry of a stream: its name, and the function that does its work."""

    name: str
    run: Callable[[], None]


@dataclass
class FakeStream:
    queue: list[Work] = field(default_factory=list)
    recording: list[Work] | None = None


@dataclass
class FakeEvent:
    """An event, which is passed once `mark`, an entry of `stream`, has run."""

    stream: FakeStream | None = None
    mark: Work | None = None


class FakeGpu:
    """State of FakeRuntime, which tests inspect and disturb."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.others: dict[int, np.ndarray] = {}
        """Device memory of other libraries in the process, which is not ours to free."""
        self.streams: dict[int, FakeStream] = {stream: FakeStream() for stream in DEFAULT_STREAMS}
        self.events: dict[int, FakeEvent] = {}
        self.recordings: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.done: list[str] = []
        """Names of the work that ran, in order."""
        self.calls: Counter[str] = Counter()
        """How often each function of the API was called."""
        self.violations: list[str] = []
        self.owners: dict[int, int] = {}
        """The context of each allocation and stream, by its address or handle."""
        self.dead_contexts: set[int] = set()
        self.device_of_memory = 0
        self.devices_view_is_off_by = 0  # what cudaPointerGetAttributes adds to an address
        self._failures: dict[str, tuple[int, Any]] = {}
        self._thread = threading.local()
        self._next = 0x7000_0000_0000

    def fail(self, function: str, after: int = 0, error: str = "cudaErrorMemoryAllocation") -> None:
        """Makes `function` return `error` once, after `after` more calls that succeed."""
        self._failures[function] = (self.calls[function] + after + 1, getattr(real.cudaError_t, error))

    def called(self, function: str) -> Any:  # noqa: ANN401
        """Counts a call; returns its error code."""
        self.calls[function] += 1
        at, error = self._failures.get(function, (0, SUCCESS))
        return error if self.calls[function] == at else SUCCESS

    @property
    def contexts(self) -> list[int]:
        """The stack of this thread's contexts, the current one last; PyCUDA's calls work on it, too."""
        if not hasattr(self._thread, "contexts"):
            self._thread.contexts = []
        contexts: list[int] = self._thread.contexts
        return contexts

    def context(self) -> int:
        """Returns the context that a call of the runtime works in."""
        return self.contexts[-1] if self.contexts else PRIMARY

    def handle(self, size: int = 0) -> int:
        """Returns a new address, a multiple of 256, with room for `size` bytes, in the current context."""
        handle = self._next
        self._next += 256 * (2 + size // 256)
        self.owners[handle] = self.context()
        return handle

    def live(self) -> dict[str, int]:
        """Returns the current allocations."""
        kinds = ("memory", "pinned", "events", "recordings", "graphs")
        return {kind: len(getattr(self, kind)) for kind in kinds} | {
            "streams": len(self.streams) - len(DEFAULT_STREAMS)
        }

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """Returns a view of `size` bytes of device or pinned memory."""
        for start, block in [*self.memory.items(), *self.pinned.items(), *self.others.items()]:
            if start <= address and address + size <= start + block.size:
                return block[address - start : address - start + size]
        self.violations.append(f"{size} bytes at {address:#x} are not allocated")
        return np.full(size, _GARBAGE, np.uint8)

    def enqueue(self, handle: int, work: Work) -> None:
        """Queues work on a stream or, while it records, adds it to the recording."""
        stream = self.streams[handle]
        if self.owners.get(handle, self.context()) != self.context():
            self.violations.append(f"{work.name} was queued in another context than its stream's")
        (stream.queue if stream.recording is None else stream.recording).append(work)

    def finish(self, stream: FakeStream, until: Work | None = None) -> None:
        """Runs the work of a stream, all of it or up to and including `until`."""
        while stream.queue and (until is None or any(work is until for work in stream.queue)):
            work = stream.queue.pop(0)
            work.run()
            self.done.append(work.name)

    def finish_all(self) -> None:
        for stream in list(self.streams.values()):
            self.finish(stream)

    def upload(self, array: np.ndarray) -> int:
        """Allocates memory of another library with `array` in it; returns its address."""
        address = self.handle(array.nbytes)
        self.others[address] = np.frombuffer(array.tobytes(), np.uint8).copy()
        return address


def _api(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function of the API: counts calls, injects failures, lets one thread in at a time."""

    def called(self: FakeRuntime, *arguments: Any) -> Any:  # noqa: ANN401
        with self._gpu.lock:
            error = self._gpu.called(function.__name__)
            if error != SUCCESS:
                if function.__name__ == "cudaStreamEndCapture":
                    self._gpu.streams[arguments[0]].recording = None  # it ends the recording all the same
                return (error, None) if function.__name__ in _WITH_VALUE else (error,)
            try:
                values = function(self, *arguments)
            except KeyError:
                return (real.cudaError_t.cudaErrorInvalidResourceHandle, None)
            return (SUCCESS,) if values is None else (SUCCESS, values)

    called.__wrapped__ = function  # type: ignore[attr-defined]
    return called


_WITH_VALUE = {
    "cudaEventCreateWithFlags",
    "cudaGetDevice",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaGraphInstantiate",
    "cudaMalloc",
    "cudaMallocHost",
    "cudaPointerGetAttributes",
    "cudaStreamCreateWithFlags",
    "cudaStreamEndCapture",
}


class FakeRuntime:
    """The part of `cuda.bindings.runtime` that this project uses. Its enumerations are the real ones."""

    cudaError_t = real.cudaError_t
    cudaMemcpyKind = real.cudaMemcpyKind
    cudaMemoryType = real.cudaMemoryType
    cudaStreamCaptureMode = real.cudaStreamCaptureMode
    cudaStreamNonBlocking = real.cudaStreamNonBlocking
    cudaEventDisableTiming = real.cudaEventDisableTiming

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self._thread = threading.local()  # its `device` is this thread's GPU

    def cudaGetErrorString(self, error: Any) -> Any:  # noqa: ANN401
        return real.cudaGetErrorString(error)

    @_api
    def cudaGetLastError(self) -> None:
        return None

    @_api
    def cudaGetDeviceCount(self) -> int:
        return 1

    @_api
    def cudaGetDevice(self) -> int:
        return int(getattr(self._thread, "device", 0))

    @_api
    def cudaSetDevice(self, device: int) -> None:
        self._thread.device = device
        self._gpu.contexts[-1:] = [PRIMARY]

    @_api
    def cudaGetDeviceProperties(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(name=b"Fake GPU", major=8, minor=6)

    @_api
    def cudaPointerGetAttributes(self, ptr: int) -> SimpleNamespace:
        kinds = real.cudaMemoryType
        on_device = self._gpu.memory | self._gpu.others
        for blocks, kind in ((on_device, "Device"), (self._gpu.pinned, "Host")):
            if any(start <= ptr < start + block.size for start, block in blocks.items()):
                memory_type = getattr(kinds, f"cudaMemoryType{kind}")
                return SimpleNamespace(
                    type=memory_type,
                    device=self._gpu.device_of_memory,
                    devicePointer=ptr + self._gpu.devices_view_is_off_by,
                )
        return SimpleNamespace(type=kinds.cudaMemoryTypeUnregistered, device=0)

    @_api
    def cudaMalloc(self, size: int) -> int:
        if any(stream.recording is not None for stream in self._gpu.streams.values()):
            self._gpu.violations.append("memory was allocated while a stream records")
        address = self._gpu.handle(size)
        self._gpu.memory[address] = np.full(size, _GARBAGE, np.uint8)
        return address

    @_api
    def cudaFree(self, devPtr: int) -> None:
        self._gpu.finish_all()  # as CUDA does
        self._release(self._gpu.memory, devPtr)

    @_api
    def cudaMallocHost(self, size: int) -> int:
        block = np.full(size, _GARBAGE, np.uint8)
        address = int(block.ctypes.data)
        self._gpu.pinned[address] = block
        return address

    @_api
    def cudaFreeHost(self, ptr: int) -> None:
        self._gpu.finish_all()
        self._release(self._gpu.pinned, ptr)

    @_api
    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> None:  # noqa: ANN401
        gpu = self._gpu
        name = kind.name.removeprefix("cudaMemcpy")
        if name == "DeviceToHost" and not any(a <= dst < a + b.size for a, b in gpu.pinned.items()):
            gpu.finish(gpu.streams[stream])  # to memory that is not pinned CUDA copies at once
            ctypes.memmove(dst, gpu.bytes_at(src, count).ctypes.data, count)
            gpu.done.append(f"{name} at once")
            return

        def copy() -> None:
            gpu.bytes_at(dst, count)[:] = gpu.bytes_at(src, count)

        gpu.enqueue(stream, Work(name, copy))

    @_api
    def cudaStreamCreateWithFlags(self, flags: int) -> int:
        handle = self._gpu.handle()
        self._gpu.streams[handle] = FakeStream()
        return handle

    @_api
    def cudaStreamSynchronize(self, stream: int) -> None:
        self._gpu.finish(self._gpu.streams[stream])

    @_api
    def cudaStreamDestroy(self, stream: int) -> None:
        if self._gpu.streams[stream].recording is not None:
            self._gpu.violations.append("a stream was destroyed while it records")
        self._gpu.finish(self._gpu.streams[stream])
        self._release(self._gpu.streams, stream)

    @_api
    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        gpu, waited = self._gpu, self._gpu.events[event]
        other, mark = waited.stream, waited.mark
        if other is not None:
            gpu.enqueue(stream, Work("wait", lambda: gpu.finish(other, mark)))

    @_api
    def cudaEventCreateWithFlags(self, flags: int) -> int:
        handle = self._gpu.handle()
        self._gpu.events[handle] = FakeEvent()
        return handle

    @_api
    def cudaEventRecord(self, event: int, stream: int) -> None:
        mark = Work("mark", lambda: None)
        self._gpu.events[event] = FakeEvent(self._gpu.streams[stream], mark)
        self._gpu.enqueue(stream, mark)

    @_api
    def cudaEventSynchronize(self, event: int) -> None:
        waited = self._gpu.events[event]
        if waited.stream is not None:
            self._gpu.finish(waited.stream, waited.mark)

    @_api
    def cudaEventDestroy(self, event: int) -> None:
        self._release(self._gpu.events, event)

    @_api
    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:  # noqa: ANN401
        self._gpu.streams[stream].recording = []

    @_api
    def cudaStreamEndCapture(self, stream: int) -> int:
        recorded, self._gpu.streams[stream].recording = self._gpu.streams[stream].recording, None
        handle = self._gpu.handle()
        self._gpu.recordings[handle] = recorded or []
        return handle

    @_api
    def cudaGraphInstantiate(self, graph: int, flags: int) -> int:
        handle = self._gpu.handle()
        self._gpu.graphs[handle] = list(self._gpu.recordings[graph])
        return handle

    @_api
    def cudaGraphLaunch(self, graphExec: int, stream: int) -> None:
        for work in self._gpu.graphs[graphExec]:
            self._gpu.enqueue(stream, Work(f"graph {work.name}", work.run))

    @_api
    def cudaGraphDestroy(self, graph: int) -> None:
        self._release(self._gpu.recordings, graph)

    @_api
    def cudaGraphExecDestroy(self, graphExec: int) -> None:
        self._release(self._gpu.graphs, graphExec)

    def _release(self, owned: dict[int, Any], handle: int) -> None:
        block = owned.pop(handle, None)
        if block is None:
            self._gpu.violations.append(f"{handle:#x} was freed twice, or never allocated")
        elif isinstance(block, np.ndarray):
            block[:] = _GARBAGE


class FakeDriver:
    """The part of `cuda.bindings.driver` that this project uses, on the same GPU."""

    CUpointer_attribute = real_driver.CUpointer_attribute

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def cuCtxGetCurrent(self) -> Any:  # noqa: ANN401
        contexts = self._gpu.contexts
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(contexts[-1] if contexts else 0)

    def cuCtxPushCurrent(self, ctx: int) -> Any:  # noqa: ANN401
        if ctx in self._gpu.dead_contexts:
            return (real_driver.CUresult.CUDA_ERROR_INVALID_CONTEXT,)
        self._gpu.contexts.append(ctx)
        return (real_driver.CUresult.CUDA_SUCCESS,)

    def cuCtxPopCurrent(self) -> Any:  # noqa: ANN401
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(self._gpu.contexts.pop())

    def cuPointerGetAttribute(self, attribute: Any, ptr: int) -> Any:  # noqa: ANN401
        assert attribute == self.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        blocks = self._gpu.memory | self._gpu.others
        start = next(start for start, block in blocks.items() if start <= ptr < start + block.size)
        if start not in self._gpu.owners:
            return real_driver.CUresult.CUDA_ERROR_INVALID_VALUE, None
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(self._gpu.owners[start])


@dataclass(frozen=True, eq=False)
class ForeignArray:
    """A device array of another library, as torch or CuPy would pass it."""

    gpu: FakeGpu
    address: int
    array: np.ndarray
    stream: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, gpu: FakeGpu, array: np.ndarray, **changes: Any) -> ForeignArray:  # noqa: ANN401
        return cls(gpu, gpu.upload(array), array, changes=changes)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.array.shape,
            "typestr": self.array.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": self.stream,
            **self.changes,
        }


def download(gpu: FakeGpu, value: Any) -> np.ndarray:  # noqa: ANN401
    """Returns the present content of a device array, whatever work is still queued."""
    interface = value.__cuda_array_interface__
    shape, dtype = interface["shape"], np.dtype(interface["typestr"])
    address, _ = interface["data"]
    start, block = next((a, b) for a, b in (gpu.memory | gpu.others).items() if a <= address < a + b.size)
    return np.ndarray(shape, dtype, block.data, address - start, interface["strides"]).copy()
