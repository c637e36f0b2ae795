"""Predictor's set_image and predict, computed by the C++ library."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_size_t, c_void_p
from typing import TYPE_CHECKING

import numpy as np

from glesam_runtime.bundle.reader import Bundle, default_bundle_path
from glesam_runtime.errors import BackendError
from glesam_runtime.image_io.auxiliary import Auxiliary
from glesam_runtime.image_io.inputs import check_image
from glesam_runtime.predictor import Prediction
from glesam_runtime.preprocess import Floats, Pixels
from glesam_runtime.prompts import Box, Points, Prompt, one_or_several

from .arrays import CPrompts, copied, image_view, with_dense_rows
from .library import check, load_library, opened_bundle
from .structs import CAuxiliaryView, CModelInfo, CPrediction

if TYPE_CHECKING:
    from typing_extensions import Self


class NativePredictor:
    """Segments one picture at a time. For several threads, give each its new_session()."""

    def __init__(self, library: ctypes.CDLL, handle: c_void_p) -> None:
        """Own `handle`, a glesam_predictor of `library`. Most callers want from_bundle()."""
        self._library = library
        self._handle = handle
        self._free = weakref.finalize(self, library.glesam_predictor_free, handle)
        info = CModelInfo()
        self._check(library.glesam_predictor_describe(handle, byref(info)))
        self._image_size: int = info.image_size

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str] | Bundle | None = None,
        backend: str = "auto",
        enhance: bool = True,
        resize: str | None = None,
    ) -> Self:
        """Open a bundle; no path: the shipped default. Arguments are those of Predictor.from_bundle.

        backend: one that the library was built with, or "auto".
        Raises BundleError, BackendError, also without the library, or ImageError for an unknown `resize`.
        """
        root = path.root if isinstance(path, Bundle) else path or default_bundle_path()
        library, handle = load_library(), c_void_p()
        with opened_bundle(library, root) as bundle:
            options = backend.encode(), int(enhance), (resize or "").encode()
            check(library, library.glesam_predictor_open(bundle, *options, byref(handle)))
        return cls(library, handle)

    def new_session(self) -> Self:
        """Another predictor on the same compiled graphs, with a picture of its own."""
        session = c_void_p()
        self._check(self._library.glesam_predictor_new_session(self._opened(), byref(session)))
        return type(self)(self._library, session)

    def set_image(self, image: Pixels, auxiliary: Auxiliary | None = None) -> None:
        """Encode and enhance `image`, uint8 [H,W,3] RGB. Raises ImageError for anything else.

        No copy is made where its rows are dense. A picture that is refused leaves the current one in place.
        auxiliary: the second sensor's, uint8 or uint16 [H,W] of dense rows.
        """
        check_image(image)
        image = with_dense_rows(image)
        view, library = image_view(image), self._library
        if auxiliary is None:
            self._check(library.glesam_set_image(self._opened(), byref(view)))
            return
        height, width = auxiliary.shape
        stride, bits = auxiliary.strides[0], 8 * auxiliary.itemsize
        second = CAuxiliaryView(auxiliary.ctypes.data, width, height, stride, bits)
        self._check(library.glesam_set_image_and_auxiliary(self._opened(), byref(view), byref(second)))

    @property
    def degradation_level(self) -> float | None:
        """As Predictor.degradation_level."""
        level, is_known = c_float(), c_int()
        self._check(self._library.glesam_get_degradation_level(self._opened(), byref(level), byref(is_known)))
        return level.value if is_known.value else None

    def predict(
        self,
        *,
        box: Box | None = None,
        points: Points = (),
        background_points: Points = (),
        mask_input: Floats | None = None,
        prompts: Sequence[Prompt] | None = None,
        multimask: bool = False,
    ) -> Prediction:
        """Masks of one prompt, or of all `prompts`: arguments, result and errors are Predictor.predict's."""
        all_prompts = one_or_several(Prompt(box, points, background_points, mask_input), prompts)
        arrays = CPrompts(all_prompts, self._image_size // 4)
        result = CPrediction()
        self._check(
            self._library.glesam_predict(
                self._opened(), arrays.structs, c_size_t(len(all_prompts)), int(multimask), byref(result)
            )
        )
        rows = (result.num_prompts, result.num_candidates) if multimask else (result.num_prompts,)
        return Prediction(
            copied(result.masks, *rows, result.height, result.width).view(np.bool_),
            copied(result.iou_predictions, *rows),
            copied(result.low_res_masks, *rows, result.low_res_size, result.low_res_size),
            self.degradation_level,
        )

    def close(self) -> None:
        """Free what is this session's own; the compiled graphs live until the last session is closed."""
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> c_void_p:
        if not self._free.alive:
            raise BackendError("backend native: this predictor is closed; open another NativePredictor")
        return self._handle

    def _check(self, status: int) -> None:
        check(self._library, status)
