"""The C++ library through its C interface, for tests that hold it against the Python package."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glesam_runtime import GlesamError, ImageError, Prompt, PromptError
from glesam_runtime.errors import BackendError, BundleError
from glesam_runtime.preprocess import Floats, Geometry, Pixels

LIBRARY = Path(
    os.environ.get("GLESAM_LIBRARY", Path(__file__).parents[2] / "build/release/runtime/libglesam.so")
)
ERRORS: dict[int, type[Exception]] = {
    1: BundleError,
    2: BackendError,
    3: ImageError,
    4: PromptError,
    5: ValueError,
}
FORMATS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "mono8": 4}


class ImageView(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("width", c_int32),
        ("height", c_int32),
        ("stride", c_int64),
        ("format", c_int32),
    )


class CPrompt(Structure):
    _fields_ = (
        ("box", POINTER(c_double)),
        ("points", POINTER(c_double)),
        ("num_points", c_size_t),
        ("background_points", POINTER(c_double)),
        ("num_background_points", c_size_t),
        ("mask_input", POINTER(c_float)),
        ("mask_input_height", c_int32),
        ("mask_input_width", c_int32),
    )


class CPrediction(Structure):
    _fields_ = (
        ("masks", POINTER(c_uint8)),
        ("iou_predictions", POINTER(c_float)),
        ("low_res_masks", POINTER(c_float)),
        ("num_prompts", c_int32),
        ("num_candidates", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("low_res_size", c_int32),
    )


class CGeometry(Structure):
    _fields_ = tuple(
        (name, c_int32)
        for name in (
            "original_height",
            "original_width",
            "resized_height",
            "resized_width",
            "image_size",
            "direct_masks",
        )
    )


class CFeeds(Structure):
    _fields_ = (
        ("point_coords", POINTER(c_float)),
        ("point_labels", POINTER(c_int32)),
        ("mask_input", POINTER(c_float)),
        ("has_mask_input", POINTER(c_float)),
        ("num_prompts", c_int32),
        ("num_points", c_int32),
    )


class CDecoded(Structure):
    _fields_ = (
        ("low_res_masks", POINTER(c_float)),
        ("iou_predictions", POINTER(c_float)),
        ("num_prompts", c_int32),
    )


class CBackendChoice(Structure):
    _fields_ = (("backend", c_char * 32), ("reason", c_char * 224))


def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(LIBRARY))
    lib.glesam_last_error.restype = c_char_p
    lib.glesam_bundle_free.argtypes = lib.glesam_predictor_free.argtypes = [c_void_p]
    return lib


class NativePredictor:
    """The C++ predictor with the Python one's methods, and the steps of both."""

    def __init__(
        self, path: Path, backend: str = "auto", enhance: bool = True, resize: str = "longest-side"
    ) -> None:
        self.lib = library()
        self.handle = c_void_p()
        bundle = c_void_p()
        self.check(self.lib.glesam_bundle_open(os.fsencode(path), byref(bundle)))
        try:
            self.check(
                self.lib.glesam_predictor_open(
                    bundle, backend.encode(), int(enhance), resize.encode(), byref(self.handle)
                )
            )
        finally:
            self.lib.glesam_bundle_free(bundle)

    def __del__(self) -> None:
        self.lib.glesam_predictor_free(self.handle)

    def check(self, status: int) -> None:
        if status:
            raise ERRORS.get(status, GlesamError)(self.lib.glesam_last_error().decode())

    def set_image(self, image: Pixels, layout: str = "rgb") -> None:
        self.check(self.lib.glesam_set_image(self.handle, byref(view(image, layout))))

    def predict(self, prompts: Sequence[Prompt], multimask: bool = False) -> dict[str, npt.NDArray[Any]]:
        """Masks, scores and logits as Prediction has them, with an axis for the candidates always."""
        found = CPrediction()
        raw, _kept = c_prompts(prompts)
        self.check(
            self.lib.glesam_predict(self.handle, raw, c_size_t(len(prompts)), int(multimask), byref(found))
        )
        rows = (found.num_prompts, found.num_candidates)
        return {
            "masks": copied(found.masks, *rows, found.height, found.width).astype(bool),
            "iou_predictions": copied(found.iou_predictions, *rows),
            "low_res_masks": copied(found.low_res_masks, *rows, found.low_res_size, found.low_res_size),
        }

    def preprocess(self, image: Pixels, size: int, layout: str = "rgb") -> tuple[Floats, CGeometry]:
        tensor = np.full((1, 3, size, size), np.nan, np.float32)
        geometry = CGeometry()
        self.check(
            self.lib.glesam_preprocess(
                self.handle, byref(view(image, layout)), pointer(tensor), byref(geometry)
            )
        )
        return tensor, geometry

    def encode(self, tensor: Floats, shape: tuple[int, ...]) -> Floats:
        embeddings = np.empty(shape, np.float32)
        self.check(self.lib.glesam_encode(self.handle, pointer(tensor), pointer(embeddings)))
        return embeddings

    def enhance(self, embeddings: Floats) -> Floats:
        enhanced = np.empty_like(embeddings)
        self.check(self.lib.glesam_enhance(self.handle, pointer(embeddings), pointer(enhanced)))
        return enhanced

    def encode_prompts(self, prompts: Sequence[Prompt], geometry: Geometry) -> dict[str, npt.NDArray[Any]]:
        feeds = CFeeds()
        raw, _kept = c_prompts(prompts)
        self.check(
            self.lib.glesam_encode_prompts(
                self.handle, byref(c_geometry(geometry)), raw, c_size_t(len(prompts)), byref(feeds)
            )
        )
        rows, side = (feeds.num_prompts, feeds.num_points), geometry.image_size // 4
        return {
            "point_coords": copied(feeds.point_coords, *rows, 2),
            "point_labels": copied(feeds.point_labels, *rows),
            "mask_input": copied(feeds.mask_input, feeds.num_prompts, 1, side, side),
            "has_mask_input": copied(feeds.has_mask_input, feeds.num_prompts),
        }

    def decode(self, embeddings: Floats, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        labels = feeds["point_labels"]
        raw = CFeeds(
            ctypes.cast(pointer(feeds["point_coords"]), POINTER(c_float)),
            ctypes.cast(pointer(labels), POINTER(c_int32)),
            ctypes.cast(pointer(feeds["mask_input"]), POINTER(c_float)),
            ctypes.cast(pointer(feeds["has_mask_input"]), POINTER(c_float)),
            *labels.shape,
        )
        decoded = CDecoded()
        self.check(self.lib.glesam_decode(self.handle, pointer(embeddings), byref(raw), byref(decoded)))
        side = feeds["mask_input"].shape[-1]
        return {
            "low_res_masks": copied(decoded.low_res_masks, decoded.num_prompts, 4, side, side),
            "iou_predictions": copied(decoded.iou_predictions, decoded.num_prompts, 4),
        }

    def postprocess(self, low_res_masks: Floats, geometry: Geometry) -> npt.NDArray[np.bool_]:
        count = len(low_res_masks)
        masks = np.full((count, *geometry.original_size), 7, np.uint8)
        self.check(
            self.lib.glesam_postprocess(
                self.handle,
                byref(c_geometry(geometry)),
                pointer(low_res_masks),
                c_size_t(count),
                pointer(masks),
            )
        )
        return masks.astype(bool)


def open_bundle(path: Path) -> None:
    """Open and close it. Raises BundleError with the library's message."""
    lib, bundle = library(), c_void_p()
    if lib.glesam_bundle_open(os.fsencode(path), byref(bundle)):
        raise BundleError(lib.glesam_last_error().decode())
    lib.glesam_bundle_free(bundle)


def choose_backend(path: Path, backend: str = "auto") -> tuple[str, str]:
    """The backend and why, as pick_for_bundle. Raises BackendError with the library's message."""
    lib, bundle, choice = library(), c_void_p(), CBackendChoice()
    if lib.glesam_bundle_open(os.fsencode(path), byref(bundle)):
        raise BundleError(lib.glesam_last_error().decode())
    status = lib.glesam_bundle_choose_backend(bundle, backend.encode(), byref(choice))
    lib.glesam_bundle_free(bundle)
    if status:
        raise ERRORS[status](lib.glesam_last_error().decode())
    return choice.backend.decode(), choice.reason.decode()


def view(image: Pixels, layout: str) -> ImageView:
    """Of an array [H,W,C] or [H,W] whose rows may have gaps. The array must outlive it."""
    return ImageView(image.ctypes.data, image.shape[1], image.shape[0], image.strides[0], FORMATS[layout])


def c_geometry(geometry: Geometry) -> CGeometry:
    return CGeometry(
        *geometry.original_size, *geometry.resized_size, geometry.image_size, int(geometry.direct_masks)
    )


def c_prompts(prompts: Sequence[Prompt]) -> tuple[Any, list[Any]]:
    """The array for C, and what its pointers point to."""
    kept: list[Any] = []

    def doubles(values: Any) -> Any:  # noqa: ANN401 - a pointer, or None for NULL
        kept.append(np.array(values, np.float64))
        return ctypes.cast(pointer(kept[-1]), POINTER(c_double)) if kept[-1].size else None

    def logits(mask: Floats | None) -> tuple[Any, int, int]:
        if mask is None:
            return None, 0, 0
        kept.append(np.array(mask, np.float32))
        return ctypes.cast(pointer(kept[-1]), POINTER(c_float)), *mask.shape

    raw = (CPrompt * len(prompts))()
    for i, prompt in enumerate(prompts):
        raw[i] = CPrompt(
            None if prompt.box is None else doubles(prompt.box),
            doubles(prompt.points),
            len(prompt.points),
            doubles(prompt.background_points),
            len(prompt.background_points),
            *logits(prompt.mask_input),
        )
    return raw, kept


def pointer(array: npt.NDArray[Any]) -> c_void_p:
    assert array.flags["C_CONTIGUOUS"]
    return c_void_p(array.ctypes.data)


def copied(source: Any, *shape: int) -> npt.NDArray[Any]:  # noqa: ANN401 - a ctypes pointer
    return np.ctypeslib.as_array(source, shape).copy()
