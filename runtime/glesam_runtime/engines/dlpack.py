"""Reads and makes DLPack capsules, in which torch, CuPy and JAX exchange arrays, through ctypes.

The layout is DLPack's `DLManagedTensor` (dlpack.h), the unversioned one that every library accepts.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BackendError, first_line

LEGACY_STREAM = 1
"""Handle of CUDA's default stream in DLPack and in the CUDA Array Interface, which both forbid 0."""
CUDA, _CUDA_HOST, _CUDA_MANAGED = 2, 3, 13
"""DLPack's types of device whose memory a GPU reaches."""
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
"""numpy's kind of an element type, by DLPack's type code."""
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


# Separate function objects: setting argument types on ctypes.pythonapi would affect other users of it.
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# A destructor gets an address: its capsule has no reference left, and none may be made.
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
    """An array as a capsule describes it; `strides` in elements. `owner` keeps the memory alive."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    owner: object


def is_on_device(value: Any) -> bool:  # noqa: ANN401
    """Returns whether `value` offers DLPack and lies in memory that a GPU reaches."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return False
    return int(value.__dlpack_device__()[0]) in (CUDA, _CUDA_HOST, _CUDA_MANAGED)


def borrow(name: str, value: Any, stream: int) -> Shared:  # noqa: ANN401
    """Returns the array of `value`, ready for use on `stream`, a CUDA handle other than 0.

    The capsule is kept and not consumed, so that it frees itself when the result is dropped.
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
    """Returns a capsule of memory on `device` = (type, index); the owner is kept until it is released."""
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
    # `described` keeps the arrays of its sizes.
    _LENT_ARRAYS[ctypes.addressof(managed)] = (managed, described, tensor.owner)
    return _new_capsule(ctypes.addressof(managed), _NAME, _destroy)


_LENT_ARRAYS: dict[int, tuple[object, ...]] = {}
"""Arrays in use elsewhere, by the address that the consumer passes to the deleter."""


def _release(managed: int) -> None:
    _LENT_ARRAYS.pop(managed, None)


def _release_unused(capsule: int) -> None:
    """Releases the array of a capsule that nobody consumed; a consumer would have renamed it."""
    if _is_named(capsule, _NAME):
        _release(_dying_pointer(capsule, _NAME))


_delete, _destroy = _Deleter(_release), _Destructor(_release_unused)
