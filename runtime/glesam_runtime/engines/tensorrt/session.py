"""One thread's use of an engine: an execution context, a stream, and buffers that are allocated once."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundle.spec import TensorSpec
from ...errors import BackendError
from ..base import Array
from ..cuda import DeviceBuffer, Event, PinnedBuffer, Stream, follow
from ..device_array import DeviceArray
from .compiled import Compiled
from .context import Context
from .launch import Launcher
from .library import python_logger

_LOG = logging.getLogger(__name__)
_ALIGNMENT = 256  # bytes; cudaMalloc's own, which TensorRT's kernels are tuned for


@dataclass(frozen=True)
class _Buffers:
    """A tensor's memory on the GPU, and the pinned host memory that its copies go through."""

    device: DeviceBuffer
    pinned: PinnedBuffer


class Session:
    """Runs a compiled engine, for one thread at a time."""

    def __init__(self, compiled: Compiled, stream: object) -> None:
        """Allocates buffers for the largest shapes. `stream`: the caller's, or None for a new one.

        Raises BackendError, with nothing left allocated, where the GPU's memory does not suffice.
        """
        self._compiled = compiled
        self._is_callers_stream = stream is not None
        self._runs = 0
        with compiled.context.entered(), ExitStack() as resources:
            # Closed in the opposite order: freeing memory waits for the work that uses the context.
            holder = [_context(compiled)]
            resources.callback(holder.clear)
            self._context = holder[0]
            self.stream = resources.enter_context(closing(Stream(stream)))
            self._copied = resources.enter_context(closing(Event()))
            self._inputs = self._allocate(compiled.spec.inputs, resources)
            self._outputs = self._allocate(compiled.spec.outputs, resources)
            self._launcher = resources.enter_context(closing(Launcher(compiled, self._context, self.stream)))
            self._bind_outputs()
            # Runs in this order even where nobody calls close().
            self._free = weakref.finalize(self, _free, compiled.context, resources.pop_all())

    def run(
        self, feeds: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], on_device: bool
    ) -> dict[str, Any]:
        """Returns outputs of `shapes`: new arrays or, `on_device`, views that the next run overwrites."""
        with self._compiled.context.entered():
            return self._run(feeds, shapes, on_device)

    def _run(
        self, feeds: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], on_device: bool
    ) -> dict[str, Any]:
        self._runs += 1
        python_logger(self._compiled.library.module).take_error()
        self._copied.synchronize()  # or a copy that the last run queued would read this run's numbers
        addresses = [self._feed(tensor, feeds[tensor.name]) for tensor in self._compiled.spec.inputs]
        self._copied.record(self.stream.handle)
        self._launcher.launch(tuple(addresses))
        if on_device:
            return self._device_outputs(shapes)
        return self._host_outputs(shapes)

    def close(self) -> None:
        """Waits for the GPU and frees everything, outputs on the device included. Twice is allowed."""
        self._runs += 1
        self._context = None
        self._free()

    def _allocate(self, tensors: tuple[TensorSpec, ...], resources: ExitStack) -> dict[str, _Buffers]:
        """Allocates buffers for the largest shapes of `tensors`; closing `resources` frees them."""
        buffers = {}
        for tensor in tensors:
            size = int(np.prod(self._compiled.largest_shape(tensor))) * np.dtype(tensor.dtype).itemsize
            device = resources.enter_context(closing(DeviceBuffer(size)))
            buffers[tensor.name] = _Buffers(device, resources.enter_context(closing(PinnedBuffer(size))))
        return buffers

    def _bind_outputs(self) -> None:
        for name, buffers in self._outputs.items():
            self._check(
                f"the address of {name}", self._context.set_tensor_address(name, buffers.device.address)
            )

    def _feed(self, tensor: TensorSpec, value: Array | DeviceArray) -> int:
        """Makes `value` the tensor's content in stream order; returns the address that it is read from."""
        name = tensor.name
        if any(isinstance(size, str) for size in tensor.shape):
            shape = tuple(value.shape)
            self._check(f"{name} {list(shape)}", self._context.set_input_shape(name, shape))
        address = self._in_place(name, value) if isinstance(value, DeviceArray) else self._copy(name, value)
        self._check(f"the address of {name}", self._context.set_tensor_address(name, address))
        return address

    def _copy(self, name: str, array: Array) -> int:
        """Queues a copy of a host array to the tensor's buffer; returns the buffer's address."""
        buffers = self._inputs[name]
        buffers.pinned.array(array.shape, array.dtype)[...] = array
        self.stream.to_device(buffers.device.address, buffers.pinned.address, array.nbytes)
        return buffers.device.address

    def _in_place(self, name: str, array: DeviceArray) -> int:
        """Returns the address of a device array, or of a copy where it is not aligned."""
        if array.stream not in (None, self.stream.handle):
            follow(self.stream.handle, array.stream)
        if array.address % _ALIGNMENT == 0:
            return array.address
        own = self._inputs[name].device.address  # a slice of a larger array: one copy on the device
        self.stream.on_device(own, array.address, array.nbytes)
        return own

    def _device_outputs(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        if not self._is_callers_stream:
            self.stream.synchronize()  # no caller can wait for this stream
        run = self._runs
        return {
            tensor.name: DeviceArray(
                self._outputs[tensor.name].device.address,
                shapes[tensor.name],
                np.dtype(tensor.dtype),
                self._compiled.context.device,
                self.stream.handle if self._is_callers_stream else None,
                owner=self,
                is_valid=lambda: self._runs == run,
            )
            for tensor in self._compiled.spec.outputs
        }

    def _host_outputs(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        views = {}
        for tensor in self._compiled.spec.outputs:
            buffers = self._outputs[tensor.name]
            view = buffers.pinned.array(shapes[tensor.name], np.dtype(tensor.dtype))
            self.stream.to_host(buffers.pinned.address, buffers.device.address, view.nbytes)
            views[tensor.name] = view
        self.stream.synchronize()
        return {name: view.copy() for name, view in views.items()}

    def _check(self, what: str, accepted: bool) -> None:
        """Raises BackendError with TensorRT's own reason where it did not accept `what`."""
        if not accepted:
            reason = python_logger(self._compiled.library.module).take_error()
            raise BackendError(
                f"{self._compiled.spec.name}: TensorRT refuses {what} ({reason}); build the engine for it "
                "with glesam-build"
            )


def _free(cuda_context: Context, resources: ExitStack) -> None:
    """Waits for the GPU and frees a session's resources in the context that they belong to."""
    try:
        with cuda_context.entered():
            resources.close()
    except BackendError as error:  # the context is gone, and its memory with it
        _LOG.warning("a session's memory cannot be freed: %s", str(error))  # not its frames


def _context(compiled: Compiled) -> Any:  # noqa: ANN401
    context = compiled.engine.create_execution_context()
    if context is None:
        reason = python_logger(compiled.library.module).take_error()
        raise BackendError(
            f"{compiled.spec.name}: TensorRT cannot make an execution context ({reason}); free GPU memory"
        )
    return context
