"""Structs of the C++ library's C interface; runtime/include/glesam/glesam.h explains their fields."""

from __future__ import annotations

from ctypes import (
    POINTER,
    Structure,
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


class CModelInfo(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("sam_type", c_char_p),
        ("precision", c_char_p),
        ("hash", c_char_p),
        ("multimask", c_int32),
        ("image_size", c_int32),
        ("pixel_mean", c_double * 3),
        ("pixel_std", c_double * 3),
        ("mask_threshold", c_double),
        ("gamma", c_double),
        ("timestep", c_int64),
    )


class CImageView(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("width", c_int32),
        ("height", c_int32),
        ("stride", c_int64),
        ("format", c_int32),
        ("memory", c_int32),
        ("stream", c_void_p),
    )


class CAuxiliaryView(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("width", c_int32),
        ("height", c_int32),
        ("stride", c_int64),
        ("bits", c_int32),
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
    _fields_ = (
        ("original_height", c_int32),
        ("original_width", c_int32),
        ("resized_height", c_int32),
        ("resized_width", c_int32),
        ("image_size", c_int32),
        ("direct_masks", c_int32),
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
