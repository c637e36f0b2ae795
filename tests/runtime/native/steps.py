"""The single steps of the C++ predictor, for tests that compare them with the Python package's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, byref, c_float, c_int32, c_size_t
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from glesam_runtime import BackendError, Prompt
from glesam_runtime.preprocess import Floats, Geometry, Pixels

from .arrays import CPrompts, c_geometry, copied, image_view, pointer
from .predictor import NativePredictor
from .structs import CDecoded, CFeeds, CGeometry


class NativeSteps(NativePredictor):
    """The steps of the C++ predictor beside its set_image and predict."""

    @classmethod
    def or_skip(cls, bundle: Path, backend: str) -> NativeSteps:
        """The predictor on this backend; skips the test where the library lacks it, which CI's must not."""
        try:
            return cls.from_bundle(bundle, backend)
        except BackendError as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI expects every backend of the C++ library: {error}")
            pytest.skip(str(error))

    def set_pixels(self, image: Pixels, layout: str) -> None:
        """set_image for any pixel format."""
        view = image_view(image, layout)
        self._check(self._library.glesam_set_image(self._opened(), byref(view)))

    def preprocess(self, image: Pixels, size: int, layout: str = "rgb") -> tuple[Floats, CGeometry]:
        tensor = np.full((1, 3, size, size), np.nan, np.float32)
        view, geometry = image_view(image, layout), CGeometry()
        self._check(
            self._library.glesam_preprocess(self._opened(), byref(view), pointer(tensor), byref(geometry))
        )
        return tensor, geometry

    def encode(self, tensor: Floats, shape: tuple[int, ...]) -> Floats:
        embeddings = np.empty(shape, np.float32)
        self._check(self._library.glesam_encode(self._opened(), pointer(tensor), pointer(embeddings)))
        return embeddings

    def enhance(self, embeddings: Floats) -> Floats:
        enhanced = np.empty_like(embeddings)
        self._check(self._library.glesam_enhance(self._opened(), pointer(embeddings), pointer(enhanced)))
        return enhanced

    def feature_sizes(self) -> tuple[int, int]:
        """Numbers of floats that the encoder gives and that the decoder reads."""
        sizes = c_size_t(), c_size_t()
        self._check(self._library.glesam_feature_sizes(self._opened(), byref(sizes[0]), byref(sizes[1])))
        return sizes[0].value, sizes[1].value

    def encode_features(self, tensor: Floats, size: int | None = None) -> Floats:
        """What the encoder gives, one tensor after the other."""
        encoded = np.empty(self.feature_sizes()[0] if size is None else size, np.float32)
        self._check(
            self._library.glesam_encode_features(
                self._opened(), pointer(tensor), pointer(encoded), c_size_t(encoded.size)
            )
        )
        return encoded

    def enhance_features(self, encoded: Floats) -> Floats:
        """What the decoder reads, one tensor after the other."""
        features = np.empty(self.feature_sizes()[1], np.float32)
        sizes = c_size_t(encoded.size), c_size_t(features.size)
        self._check(
            self._library.glesam_enhance_features(
                self._opened(), pointer(encoded), sizes[0], pointer(features), sizes[1]
            )
        )
        return features

    def encode_prompts(self, prompts: Sequence[Prompt], geometry: Geometry) -> dict[str, npt.NDArray[Any]]:
        feeds, side = CFeeds(), geometry.image_size // 4
        arrays = CPrompts(prompts, side)
        self._check(
            self._library.glesam_encode_prompts(
                self._opened(),
                byref(c_geometry(geometry)),
                arrays.structs,
                c_size_t(len(prompts)),
                byref(feeds),
            )
        )
        rows = (feeds.num_prompts, feeds.num_points)
        return {
            "point_coords": copied(feeds.point_coords, *rows, 2),
            "point_labels": copied(feeds.point_labels, *rows),
            "mask_input": copied(feeds.mask_input, feeds.num_prompts, 1, side, side),
            "has_mask_input": copied(feeds.has_mask_input, feeds.num_prompts),
        }

    def decode(self, features: Floats, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        labels = feeds["point_labels"]
        raw = CFeeds(
            ctypes.cast(pointer(feeds["point_coords"]), POINTER(c_float)),
            ctypes.cast(pointer(labels), POINTER(c_int32)),
            ctypes.cast(pointer(feeds["mask_input"]), POINTER(c_float)),
            ctypes.cast(pointer(feeds["has_mask_input"]), POINTER(c_float)),
            *labels.shape,
        )
        decoded = CDecoded()
        self._check(
            self._library.glesam_decode_features(
                self._opened(), pointer(features), c_size_t(features.size), byref(raw), byref(decoded)
            )
        )
        side = feeds["mask_input"].shape[-1]
        return {
            "low_res_masks": copied(decoded.low_res_masks, decoded.num_prompts, 4, side, side),
            "iou_predictions": copied(decoded.iou_predictions, decoded.num_prompts, 4),
        }

    def decode_one_embedding(self, embeddings: Floats) -> None:
        """Gives glesam_decode embeddings with no prompt, which it refuses for one reason or the other."""
        decoded = CDecoded()
        self._check(
            self._library.glesam_decode(self._opened(), pointer(embeddings), byref(CFeeds()), byref(decoded))
        )

    def postprocess(self, low_res_masks: Floats, geometry: Geometry) -> npt.NDArray[np.bool_]:
        count = len(low_res_masks)
        masks = np.full((count, *geometry.original_size), 7, np.uint8)
        self._check(
            self._library.glesam_postprocess(
                self._opened(),
                byref(c_geometry(geometry)),
                pointer(low_res_masks),
                c_size_t(count),
                pointer(masks),
            )
        )
        return masks.astype(bool)
