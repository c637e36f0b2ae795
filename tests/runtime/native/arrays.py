"""numpy arrays as the C++ library takes them, and its results as arrays of our own."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glesam_runtime.preprocess import Geometry, Pixels
from glesam_runtime.prompts import Prompt, box_array, checked_logits, points_array

from .structs import CGeometry, CImageView, CPrompt

FORMATS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "mono8": 4}
"""glesam_pixel_format by name."""
HOST = 0
"""The memory of numpy's arrays."""


def image_view(image: Pixels, layout: str = "rgb") -> CImageView:
    """A view of an array [H,W,C] or [H,W] whose rows are dense, with or without gaps between them.

    The array must outlive it.
    """
    height, width = image.shape[:2]
    return CImageView(image.ctypes.data, width, height, image.strides[0], FORMATS[layout], HOST)


def with_dense_rows(image: Pixels) -> Pixels:
    """`image` itself, uint8 [H,W,3], where its rows are dense and in order, else a copy."""
    row = image.shape[1] * 3
    dense = image.strides[1:] == (3, 1) and image.strides[0] >= row
    return image if dense else np.ascontiguousarray(image)


class CPrompts:
    """Prompts as an array of structs, beside the arrays that they point to."""

    def __init__(self, prompts: Sequence[Prompt], side: int) -> None:
        """`side`: S/4, that of a mask input. Raises PromptError where an array's shape is not Prompt's."""
        self._kept: list[npt.NDArray[Any]] = []
        self.structs = (CPrompt * len(prompts))(*(self._struct(prompt, side) for prompt in prompts))

    def _struct(self, prompt: Prompt, side: int) -> CPrompt:
        struct = CPrompt()
        if prompt.box is not None:
            struct.box = self._pointer(box_array(prompt.box), ctypes.c_double)
        if len(prompt.points) > 0:
            struct.num_points = len(prompt.points)
            struct.points = self._pointer(points_array("point", prompt.points), ctypes.c_double)
        if len(prompt.background_points) > 0:
            struct.num_background_points = len(prompt.background_points)
            background = points_array("background point", prompt.background_points)
            struct.background_points = self._pointer(background, ctypes.c_double)
        if prompt.mask_input is not None:
            struct.mask_input_height = struct.mask_input_width = side
            logits = checked_logits(prompt.mask_input, side).astype(np.float32)
            struct.mask_input = self._pointer(logits, ctypes.c_float)
        return struct

    def _pointer(self, array: npt.NDArray[Any], kind: Any) -> Any:  # noqa: ANN401 - ctypes' own types
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data_as(ctypes.POINTER(kind))


def c_geometry(geometry: Geometry) -> CGeometry:
    return CGeometry(
        *geometry.original_size, *geometry.resized_size, geometry.image_size, int(geometry.direct_masks)
    )


def pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags["C_CONTIGUOUS"]
    return ctypes.c_void_p(array.ctypes.data)


def copied(source: Any, *shape: int) -> npt.NDArray[Any]:  # noqa: ANN401 - a ctypes pointer
    """A numpy array of its own with what the library's memory holds now."""
    array: npt.NDArray[Any] = np.ctypeslib.as_array(source, shape).copy()
    return array
