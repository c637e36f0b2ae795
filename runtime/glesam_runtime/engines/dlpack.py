"""DLPack's capsules, read and made through ctypes: what torch, CuPy and JAX pass arrays in.

The layout is DLPack's `DLManagedTensor` (dlpack.h, the unversioned one that every library takes).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BackendError, first_line

CUDA, _CUDA_HOST, _CUDA_MANAGED = 2, 3, 13
"""DLPack's device types that a GPU reaches."""
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
"""numpy's kind by DLPack's type code."""
_NAME = b"dltensor"


class _Device(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


# Objects of their own, so that nobody else's signatures of the same functions are changed.
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# Given as an address: a destructor sees a capsule that has no reference left, and may not make one.
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_dying_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


@dataclass(frozen=True, eq=False)
class Shared:
    """What a capsule says of its array; `strides` in elements. The memory lives as long as `owner`."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    owner: object


def is_on_device(value: Any) -> bool:  # noqa: ANN401
    """Whether `value` speaks DLPack and lies where a GPU reaches it."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return False
    return int(value.__dlpack_device__()[0]) in (CUDA, _CUDA_HOST, _CUDA_MANAGED)


def borrow(name: str, value: Any, stream: int) -> Shared:  # noqa: ANN401
    """Read `value`, ready on `stream`, CUDA's handle but not 0. The capsule is kept, not consumed.

    So it frees itself when dropped, as one that nobody takes.

    Raises BackendError where the library refuses, or numpy has no such element type.
    """
    try:
        capsule = value.__dlpack__(stream=stream)
    except (BufferError, RuntimeError, TypeError) as error:
        raise BackendError(f"{name}: its library refuses to share it ({first_line(error)})") from error
    tensor = _ManagedTensor.from_address(_capsule_pointer(capsule, _NAME)).tensor
    kind = _KINDS.get(tensor.dtype.code)
    if kind is None or tensor.dtype.lanes != 1:
        raise BackendError(f"{name}: expected numbers that numpy has, found DLPack type {tensor.dtype.code}")
    shape, strides = (
        tuple(sizes[: tensor.ndim]) if sizes else None for sizes in (tensor.shape, tensor.strides)
    )
    dtype = np.dtype(f"{kind}{tensor.dtype.bits // 8}")
    return Shared((tensor.data or 0) + tensor.byte_offset, shape or (), strides, dtype, capsule)


def lend(tensor: Shared, device: tuple[int, int]) -> object:
    """A capsule of memory on `device` = (type, index); its owner is kept until the taker is done with it."""
    sizes = ctypes.c_int64 * len(tensor.shape)
    strides = tensor.strides or ()
    code = next(code for code, kind in _KINDS.items() if kind == tensor.dtype.kind)
    described = _Tensor(
        tensor.address,
        _Device(*device),
        len(tensor.shape),
        _DataType(code, tensor.dtype.itemsize * 8, 1),
        sizes(*tensor.shape),
        sizes(*strides),
        0,
    )
    managed = _ManagedTensor(described, None, ctypes.cast(_delete, ctypes.c_void_p))
    _LENT[ctypes.addressof(managed)] = (managed, described, tensor.owner)  # `described` keeps both sizes
    return _new_capsule(ctypes.addressof(managed), _NAME, _destroy)


_LENT: dict[int, tuple[object, ...]] = {}
"""What is lent, by the address that its taker gives back."""


def _give_back(managed: int) -> None:
    _LENT.pop(managed, None)


def _drop(capsule: int) -> None:
    """A capsule that nobody took: its taker would have renamed it."""
    if _is_named(capsule, _NAME):
        _give_back(_dying_pointer(capsule, _NAME))


_delete, _destroy = _Deleter(_give_back), _Destructor(_drop)
