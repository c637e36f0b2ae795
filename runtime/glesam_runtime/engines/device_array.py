"""Arrays in a GPU's memory, exchanged with other libraries without a copy.

The interfaces are the CUDA Array Interface, version 3 (torch, CuPy, Numba, PyCUDA, jetson-utils), and DLPack.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, first_line
from . import dlpack
from .dlpack import LEGACY_STREAM

Shape = tuple[int, ...]
_NO_STREAM = -1
"""DLPack's stream of a consumer that wants no synchronisation."""


@dataclass(frozen=True, eq=False, repr=False)
class DeviceArray:
    """An array at `pointer` in a GPU's memory; `strides` in bytes, None for C order.

    `stream`: the CUDA stream on which its content becomes ready, None where it is ready. `owner` keeps the
    memory alive. An output of a session is valid until the session's next call or close(), and refuses
    every use after that.
    """

    pointer: int
    shape: Shape
    dtype: np.dtype[Any]
    device: int = 0
    stream: int | None = None
    strides: Shape | None = None
    owner: object = None
    is_valid: Callable[[], bool] = lambda: True

    @property
    def address(self) -> int:
        """`pointer`. Raises BackendError where the memory holds something else by now."""
        if not self.is_valid():
            raise BackendError(
                "this device array was overwritten or freed: it is valid until its session's next call or "
                "close(); copy it to keep it"
            )
        return self.pointer

    @property
    def nbytes(self) -> int:
        """Size of the elements [bytes]."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": self.strides,
            "stream": self.stream,
        }

    def __getitem__(self, key: int | slice | tuple[int | slice, ...]) -> DeviceArray:
        """Returns a view, as numpy's basic indexing does."""
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (len(self.shape) - len(keys))
        start = self.address
        shape: Shape = ()
        strides: Shape = ()
        steps = self.strides or c_strides(self.shape, self.dtype.itemsize)
        for size, step, index in zip(self.shape, steps, keys, strict=True):
            indices = range(size)[index]
            if isinstance(indices, int):
                start += indices * step
            else:
                start += indices.start * step
                shape, strides = (*shape, len(indices)), (*strides, indices.step * step)
        return replace(self, pointer=start, shape=shape, strides=strides)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """Returns an unversioned capsule whose content is ready on the consumer's `stream`."""
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("device arrays are shared where they are, without a copy")
        consumer = LEGACY_STREAM if stream is None else stream
        if self.stream is not None and consumer not in (_NO_STREAM, self.stream):
            from .cuda import follow

            follow(consumer, self.stream)
        itemsize = self.dtype.itemsize
        steps = self.strides or c_strides(self.shape, itemsize)
        strides = tuple(step // itemsize for step in steps)
        shared = dlpack.Shared(self.address, self.shape, strides, self.dtype, self)
        return dlpack.lend(shared, self.__dlpack_device__())

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype.name} {list(self.shape)})"


def is_on_device(value: object) -> bool:
    """Returns whether `value` declares that it lies in a GPU's memory."""
    return hasattr(value, "__cuda_array_interface__") or dlpack.is_on_device(value)


def device_array(name: str, value: Any, stream: int) -> DeviceArray:  # noqa: ANN401
    """Returns `value`, for which is_on_device holds, without a copy, ready for use on `stream`.

    `name` is for error messages. Raises BackendError where the array is masked or not in C order, or where
    numpy has no such element type.
    """
    if isinstance(value, DeviceArray):
        array = value
    elif hasattr(value, "__cuda_array_interface__"):
        array = _from_interface(name, value)
    else:
        array = _from_dlpack(name, value, stream)
    if not _is_c_order(array):
        raise BackendError(
            f"{name}: expected a device array in C order, found strides of {list(array.strides or ())} bytes "
            f"for {list(array.shape)}; make it contiguous"
        )
    return array


def to_host(name: str, value: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Returns a copy of a device array on the host, once the work that is queued for it is done.

    Raises BackendError as device_array does, and where cuda-bindings is absent.
    """
    try:
        from . import cuda
    except ImportError as error:
        raise BackendError(
            f"{name}: cuda-bindings, which copies a device array, cannot be imported ({first_line(error)}); "
            "pip install 'glesam[tensorrt]', or give a numpy array"
        ) from error
    array = device_array(name, value, LEGACY_STREAM)
    host = np.empty(array.shape, array.dtype)
    with closing(cuda.Stream()) as stream:
        cuda.follow(stream.handle, LEGACY_STREAM if array.stream is None else array.stream)
        stream.to_host(host.ctypes.data, array.address, host.nbytes)
        stream.synchronize()
    return host


def _from_interface(name: str, value: Any) -> DeviceArray:  # noqa: ANN401
    """Returns an array with the CUDA Array Interface as a DeviceArray."""
    interface = value.__cuda_array_interface__
    try:
        address, _ = interface["data"]
        dtype = np.dtype(interface["typestr"])
        shape, strides = tuple(interface["shape"]), interface.get("strides")
        masked = interface.get("mask") is not None
    except (KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{name}: expected a device array with the CUDA Array Interface 3 ({first_line(error)})"
        ) from error
    if masked or dtype.byteorder == ">":
        raise BackendError(f"{name}: expected a plain device array, found a masked or big-endian one")
    strides = None if strides is None else tuple(strides)
    stream = interface.get("stream", LEGACY_STREAM)  # version 2, torch's, has no stream
    if stream is None and type(value).__module__.startswith("pycuda."):
        stream = LEGACY_STREAM  # on which PyCUDA works by default, whatever its None means elsewhere
    return DeviceArray(int(address or 0), shape, dtype, stream=stream, strides=strides, owner=value)


def _from_dlpack(name: str, value: Any, stream: int) -> DeviceArray:  # noqa: ANN401
    """Returns an array with DLPack as a DeviceArray."""
    tensor = dlpack.borrow(name, value, stream)
    itemsize = tensor.dtype.itemsize
    strides = None if tensor.strides is None else tuple(step * itemsize for step in tensor.strides)
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, strides=strides, owner=tensor.owner)


def c_strides(shape: Shape, itemsize: int) -> Shape:
    """Returns the strides [bytes] of an array in C order."""
    steps = [itemsize]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    return tuple(steps[: len(shape)])


def _is_c_order(array: DeviceArray) -> bool:
    if array.strides is None:
        return True
    expected = c_strides(array.shape, array.dtype.itemsize)
    # The stride of a dimension of size 1 is never used, and libraries put anything there.
    return all(
        size == 1 or step == required
        for size, step, required in zip(array.shape, array.strides, expected, strict=True)
    )
