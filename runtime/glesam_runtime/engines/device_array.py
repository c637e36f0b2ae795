"""Arrays in a GPU's memory: taken from other libraries, and handed to them, without a copy.

The interfaces are the CUDA Array Interface, version 3 (torch, CuPy, Numba, PyCUDA, jetson-utils), and DLPack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, first_line
from . import dlpack

Shape = tuple[int, ...]
LEGACY_STREAM = 1
"""CUDA's default stream, in both interfaces: they forbid its handle 0."""
_NO_STREAM = -1
"""DLPack: whoever takes the array asks for no synchronisation."""


@dataclass(frozen=True, eq=False, repr=False)
class DeviceArray:
    """`shape` elements of `dtype` at `pointer` in a GPU's memory; `strides` in bytes, None: C order.

    `stream`: the CUDA stream on which its content is ready, None: it is ready. `owner` keeps the memory.
    One that a session answered is valid until the session's next call or close(); then every use is refused.
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
        """Raises BackendError where the memory holds something else by now."""
        if not self.is_valid():
            raise BackendError(
                "this device array was overwritten or freed: it is valid until its session's next call or "
                "close(); copy it to keep it"
            )
        return self.pointer

    @property
    def nbytes(self) -> int:
        """Its elements' bytes."""
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
        """A view, as numpy's basic indexing gives it."""
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (len(self.shape) - len(keys))
        start = self.address
        shape: Shape = ()
        strides: Shape = ()
        steps = self.strides or c_strides(self.shape, self.dtype.itemsize)
        for size, step, chosen in zip(self.shape, steps, keys, strict=True):
            indices = range(size)[chosen]
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
        """An unversioned capsule, its content ready on the taker's `stream`."""
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("device arrays are shared where they are, without a copy")
        taker = LEGACY_STREAM if stream is None else stream
        if self.stream is not None and taker not in (_NO_STREAM, self.stream):
            from .cuda import follow

            follow(taker, self.stream)
        itemsize = self.dtype.itemsize
        steps = self.strides or c_strides(self.shape, itemsize)
        strides = tuple(step // itemsize for step in steps)
        shared = dlpack.Shared(self.address, self.shape, strides, self.dtype, self)
        return dlpack.lend(shared, self.__dlpack_device__())

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype.name} {list(self.shape)})"


def is_on_device(value: object) -> bool:
    """Whether `value` says that it lies in a GPU's memory."""
    return hasattr(value, "__cuda_array_interface__") or dlpack.is_on_device(value)


def device_array(name: str, value: Any, stream: int) -> DeviceArray:  # noqa: ANN401
    """`value`, an array that is_on_device, without a copy, to be used on `stream`; `name` is for messages.

    Raises BackendError where it is masked, not in C order, or of an element type that numpy has not.
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
    """A copy of a device array on the host. Raises BackendError as device_array does."""
    try:
        from . import cuda
    except ImportError as error:
        raise BackendError(
            f"{name}: cuda-bindings, which copies a device array, cannot be imported ({first_line(error)}); "
            "pip install 'glesam[tensorrt]', or give a numpy array"
        ) from error
    return cuda.to_host(device_array(name, value, LEGACY_STREAM))


def _from_interface(name: str, value: Any) -> DeviceArray:  # noqa: ANN401
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
    stream = interface.get("stream")
    return DeviceArray(int(address or 0), shape, dtype, stream=stream, strides=strides, owner=value)


def _from_dlpack(name: str, value: Any, stream: int) -> DeviceArray:  # noqa: ANN401
    tensor = dlpack.borrow(name, value, stream)
    itemsize = tensor.dtype.itemsize
    strides = None if tensor.strides is None else tuple(step * itemsize for step in tensor.strides)
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, strides=strides, owner=tensor.owner)


def c_strides(shape: Shape, itemsize: int) -> Shape:
    """The strides [bytes] of an array in C order."""
    steps = [itemsize]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    return tuple(steps[: len(shape)])


def _is_c_order(array: DeviceArray) -> bool:
    if array.strides is None:
        return True
    expected = c_strides(array.shape, array.dtype.itemsize)
    # A dimension of size 1 is never stepped along, and libraries put anything there.
    return all(
        size == 1 or step == wanted
        for size, step, wanted in zip(array.shape, array.strides, expected, strict=True)
    )
