"""Predictor's set_image and predict, computed by the C++ library.

predictor = NativePredictor.from_bundle()
predictor.set_image(image)
prediction = predictor.predict(box=(20, 40, 300, 280))
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.reader import Bundle, default_bundle_path
from ..errors import BackendError
from ..predictor import Prediction, check_image
from ..preprocess import Floats, Pixels
from ..prompts import Box, Points, Prompt, asked_prompts
from .arrays import CPrompts, copied, image_view, with_dense_rows
from .library import check, load_library
from .structs import CModelInfo, CPrediction

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
        resize: str = "longest-side",
    ) -> Self:
        """Open a bundle; no path: the shipped default. Arguments are those of Predictor.from_bundle.

        backend: one that the library was built with, or "auto".
        Raises BundleError, BackendError, also without the library, or ImageError for an unknown `resize`.
        """
        root = path.root if isinstance(path, Bundle) else path or default_bundle_path()
        library, bundle, handle = load_library(), c_void_p(), c_void_p()
        check(library, library.glesam_bundle_open(os.fsencode(root), byref(bundle)))
        try:
            names = backend.encode(), int(enhance), resize.encode()
            check(library, library.glesam_predictor_open(bundle, *names, byref(handle)))
        finally:
            library.glesam_bundle_free(bundle)
        return cls(library, handle)

    def new_session(self) -> Self:
        """Another predictor on the same compiled graphs, with a picture of its own."""
        session = c_void_p()
        self._check(self._library.glesam_predictor_new_session(self._opened(), byref(session)))
        return type(self)(self._library, session)

    def set_image(self, image: Pixels) -> None:
        """Encode and enhance `image`, uint8 [H,W,3] RGB. Raises ImageError for anything else.

        No copy is made where its rows are dense. A picture that is refused leaves the former one in place.
        """
        check_image(image)
        image = with_dense_rows(image)
        self._check(self._library.glesam_set_image(self._opened(), byref(image_view(image))))

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
        """Masks of one prompt, or of all `prompts`: takes, gives and raises what Predictor.predict does."""
        asked = asked_prompts(Prompt(box, points, background_points, mask_input), prompts)
        given = CPrompts(asked, self._image_size // 4)
        found = CPrediction()
        self._check(
            self._library.glesam_predict(
                self._opened(), given.structs, c_size_t(len(asked)), int(multimask), byref(found)
            )
        )
        rows = (found.num_prompts, found.num_candidates) if multimask else (found.num_prompts,)
        return Prediction(
            copied(found.masks, *rows, found.height, found.width).view(np.bool_),
            copied(found.iou_predictions, *rows),
            copied(found.low_res_masks, *rows, found.low_res_size, found.low_res_size),
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
