"""DLPack capsules, compared with numpy's and torch's own code for them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import FakeGpu, Work

from glesam_runtime import BackendError
from glesam_runtime.engines import dlpack
from glesam_runtime.engines.device_array import DeviceArray, device_array, is_on_device

CPU, CUDA = 1, 2
TAKERS_STREAM = 2
ALL = slice(None)


class Lender:
    """Memory of the host behind our capsules."""

    def __init__(self, array: np.ndarray, device: int = CPU) -> None:
        self.array = array
        self.device = device
        self.streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> object:  # noqa: ANN401
        self.streams.append(stream)
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        shared = dlpack.Shared(self.array.ctypes.data, self.array.shape, strides, self.array.dtype, self)
        return dlpack.lend(shared, (self.device, 0))


@pytest.mark.parametrize("take", [np.from_dlpack, torch.from_dlpack])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.bool_])
def test_other_libraries_read_and_release_our_capsules(take: Any, dtype: type) -> None:  # noqa: ANN401
    array = np.arange(24).reshape(2, 4, 3).astype(dtype)[:, 1:3]
    lender = Lender(array)
    taken, watched = take(lender), weakref.ref(lender)
    del lender
    np.testing.assert_array_equal(np.asarray(taken), array)
    assert watched() is not None  # it keeps the memory
    del taken
    gc.collect()
    assert watched() is None
    assert not dlpack._LENT_ARRAYS


def test_an_unused_capsule_is_released() -> None:
    capsule = Lender(np.ones(3)).__dlpack__()
    assert dlpack._LENT_ARRAYS
    del capsule
    assert not dlpack._LENT_ARRAYS


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_we_read_the_capsules_of_other_libraries(library: Any) -> None:  # noqa: ANN401
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    theirs = library(array)

    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return CUDA, 0

        def __dlpack__(self, *, stream: int) -> object:
            return theirs.__dlpack__()

    assert is_on_device(OnGpu())
    assert not is_on_device(theirs)
    ours = device_array("image", OnGpu(), stream=7)
    assert (ours.address, ours.shape, ours.dtype) == (
        array.ctypes.data,
        (3, 4),
        np.dtype(np.int32),
    )


def test_the_other_library_gets_our_stream() -> None:
    lender = Lender(np.zeros((2, 3), np.float32), CUDA)
    device_array("image", lender, stream=7)
    assert lender.streams == [7]


def test_what_cannot_be_shared_is_one_line() -> None:
    class Refusing(Lender):
        def __dlpack__(self, *, stream: int | None = None, **_: Any) -> object:  # noqa: ANN401
            raise BufferError("it requires a gradient\nand more")

    class Bf16(Lender):
        def __dlpack__(self, *, stream: int | None = None, **_: Any) -> object:  # noqa: ANN401
            return torch.zeros(3, dtype=torch.bfloat16).__dlpack__()

    refused = {
        Refusing(np.zeros(3), CUDA): r"^x: its library refuses to share it \(it requires a gradient\)$",
        Bf16(np.zeros(3), CUDA): "expected numbers that numpy has, found DLPack type 4",
        Lender(np.zeros((2, 3)).T, CUDA): "in C order",
    }
    for lender, message in refused.items():
        with pytest.raises(BackendError, match=message):
            device_array("x", lender, 7)


def test_a_capsule_has_the_device_arrays_strides_and_index() -> None:
    array = DeviceArray(4096, (2, 4, 3), np.dtype(np.float32), device=1)
    view = array[:, 2]
    assert view.__dlpack_device__() == (CUDA, 1)
    read = dlpack.borrow("view", view, TAKERS_STREAM)
    assert (read.address, read.shape, read.strides) == (4096 + 2 * 12, (2, 3), (12, 1))
    for keyword in ({"copy": True}, {"dl_device": (CPU, 0)}):
        with pytest.raises(BufferError, match="without a copy"):
            view.__dlpack__(**keyword)


def test_a_consumer_waits_for_the_stream_of_a_device_array(gpu: FakeGpu) -> None:
    array = DeviceArray(4096, (3,), np.dtype(np.float32), stream=1)
    gpu.enqueue(1, Work("kernel", lambda: None))
    array.__dlpack__(stream=TAKERS_STREAM)
    gpu.finish(gpu.streams[TAKERS_STREAM])
    assert "kernel" in gpu.done


@pytest.mark.parametrize(
    "key", [0, -1, slice(1, 3), (ALL, 0), (ALL, slice(1, 4)), (1, 2), (slice(0, 2), 1, slice(2))]
)
def test_views_are_those_of_numpy(key: Any) -> None:  # noqa: ANN401
    array = np.zeros((3, 4, 5), np.float32)
    ours = DeviceArray(array.ctypes.data, array.shape, array.dtype)[key]
    expected = array[key]
    assert (ours.address, ours.shape, ours.strides) == (
        expected.ctypes.data,
        expected.shape,
        expected.strides,
    )
    with pytest.raises(IndexError):
        _ = ours[9]
