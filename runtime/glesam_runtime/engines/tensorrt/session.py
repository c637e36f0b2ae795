"""One thread's share of an engine: an execution context, a stream, and buffers allocated once."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundle.spec import TensorSpec
from ...errors import BackendError
from ..base import Array
from ..cuda import DeviceBuffer, Event, PinnedBuffer, Stream, follow, use_device
from ..device_array import DeviceArray
from .compiled import Compiled
from .launch import Launcher
from .log import python_logger

_ALIGNMENT = 256  # bytes; cudaMalloc's, and what TensorRT's kernels are tuned for


@dataclass(frozen=True)
class _Buffers:
    """A tensor's place on the GPU and the pinned one on the host that it is copied through."""

    device: DeviceBuffer
    pinned: PinnedBuffer


class Session:
    """Runs `compiled`; one thread at a time."""

    def __init__(self, compiled: Compiled, stream: int | None) -> None:
        """Allocate for the profile's maximum. `stream`: the caller's, None: one of its own.

        Raises BackendError, with nothing left allocated, where the GPU's memory does not suffice.
        """
        self._compiled = compiled
        self._is_callers_stream = stream is not None
        self._runs = 0
        use_device(compiled.device)
        with ExitStack() as resources:
            # Closed in the opposite order: freeing memory waits for the work that uses the context.
            kept = [_context(compiled)]
            resources.callback(kept.clear)
            self._context = kept[0]
            self.stream = resources.enter_context(closing(Stream(stream)))
            self._copied = resources.enter_context(closing(Event()))
            self._inputs = self._allocate(compiled.spec.inputs, resources)
            self._outputs = self._allocate(compiled.spec.outputs, resources)
            self._launcher = resources.enter_context(closing(Launcher(compiled, self._context, self.stream)))
            self._bind_outputs()
            # Also where nobody closes it, in this order.
            self._free = weakref.finalize(self, resources.pop_all().close)

    def run(
        self, feeds: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], on_device: bool
    ) -> dict[str, Any]:
        """Answers of `shapes`: arrays of their own or, `on_device`, views that the next run overwrites."""
        use_device(self._compiled.device)
        self._runs += 1
        python_logger(self._compiled.library.module).take_error()
        self._copied.synchronize()  # else a copy that the last run queued would read this run's numbers
        addresses = [self._give(tensor, feeds[tensor.name]) for tensor in self._compiled.spec.inputs]
        self._copied.record(self.stream.handle)
        self._launcher.launch(tuple(addresses))
        if on_device:
            return self._left_on_device(shapes)
        return self._brought_back(shapes)

    def close(self) -> None:
        """Wait for the GPU and free everything; what was left on the device is gone. Twice is allowed."""
        self._runs += 1
        self._context = None
        self._free()

    def _allocate(self, tensors: tuple[TensorSpec, ...], resources: ExitStack) -> dict[str, _Buffers]:
        buffers = {}
        for tensor in tensors:
            size = int(np.prod(self._compiled.most(tensor))) * np.dtype(tensor.dtype).itemsize
            device = resources.enter_context(closing(DeviceBuffer(size)))
            buffers[tensor.name] = _Buffers(device, resources.enter_context(closing(PinnedBuffer(size))))
        return buffers

    def _bind_outputs(self) -> None:
        for name, buffers in self._outputs.items():
            self._accepted(
                f"the address of {name}", self._context.set_tensor_address(name, buffers.device.address)
            )

    def _give(self, tensor: TensorSpec, value: Array | DeviceArray) -> int:
        """Make `value` the tensor's content in stream order; returns the address that it is read from."""
        name = tensor.name
        if any(isinstance(size, str) for size in tensor.shape):
            shape = tuple(value.shape)
            self._accepted(f"{name} {list(shape)}", self._context.set_input_shape(name, shape))
        address = self._taken(name, value) if isinstance(value, DeviceArray) else self._copy(name, value)
        self._accepted(f"the address of {name}", self._context.set_tensor_address(name, address))
        return address

    def _copy(self, name: str, array: Array) -> int:
        buffers = self._inputs[name]
        buffers.pinned.array(array.shape, array.dtype)[...] = array
        self.stream.to_device(buffers.device.address, buffers.pinned.address, array.nbytes)
        return buffers.device.address

    def _taken(self, name: str, array: DeviceArray) -> int:
        if array.stream not in (None, self.stream.handle):
            follow(self.stream.handle, array.stream)
        if array.address % _ALIGNMENT == 0:
            return array.address
        own = self._inputs[name].device.address  # a slice of a larger array: one copy on the device
        self.stream.on_device(own, array.address, array.nbytes)
        return own

    def _left_on_device(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        if not self._is_callers_stream:
            self.stream.synchronize()  # nobody else knows this stream to wait for it
        run = self._runs
        return {
            tensor.name: DeviceArray(
                self._outputs[tensor.name].device.address,
                shapes[tensor.name],
                np.dtype(tensor.dtype),
                self._compiled.device,
                self.stream.handle if self._is_callers_stream else None,
                owner=self,
                is_valid=lambda: self._runs == run,
            )
            for tensor in self._compiled.spec.outputs
        }

    def _brought_back(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        views = {}
        for tensor in self._compiled.spec.outputs:
            buffers = self._outputs[tensor.name]
            view = buffers.pinned.array(shapes[tensor.name], np.dtype(tensor.dtype))
            self.stream.to_host(buffers.pinned.address, buffers.device.address, view.nbytes)
            views[tensor.name] = view
        self.stream.synchronize()
        return {name: view.copy() for name, view in views.items()}

    def _accepted(self, what: str, accepted: bool) -> None:
        if not accepted:
            said = python_logger(self._compiled.library.module).take_error()
            raise BackendError(
                f"{self._compiled.spec.name}: TensorRT refuses {what} ({said}); build the engine for it "
                "with glesam-build"
            )


def _context(compiled: Compiled) -> Any:  # noqa: ANN401
    context = compiled.engine.create_execution_context()
    if context is None:
        said = python_logger(compiled.library.module).take_error()
        raise BackendError(
            f"{compiled.spec.name}: TensorRT cannot make an execution context ({said}); free GPU memory"
        )
    return context
