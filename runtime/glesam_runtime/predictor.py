"""From an image to masks.

    predictor = Predictor.from_bundle()                        # the shipped model
    predictor.set_image(image)                                 # slow: encoder and GLE, once per image
    prediction = predictor.predict(box=(20, 40, 300, 280))     # fast: decoder only, once per prompt

GLE is generative latent space enhancement, GleSAM's part between the encoder and the decoder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bundle.manifest import Manifest
from .bundle.reader import Bundle
from .engines import open_engines
from .engines.base import Engines
from .errors import BackendError, ImageError, PromptError
from .postprocess import MaskResizer
from .preprocess import RESIZES, Floats, Geometry, Pixels, Size, preprocess
from .prompts import Box, Points, Prompt, encode_prompts, one_or_several


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks of N prompts; with multimask each array has an axis of three candidates after N.

    masks: bool [N,H,W] in pixels of the original image. iou_predictions: float32 [N], the model's own
    estimate of each mask's IoU. low_res_masks: float32 [N,S/4,S/4], logits that can be a mask_input.
    """

    masks: npt.NDArray[np.bool_]
    iou_predictions: Floats
    low_res_masks: Floats


@dataclass(frozen=True, eq=False)
class DevicePrediction:
    """Logits and scores of N prompts, left in the backend's memory: see Predictor.predict_on_device.

    Shapes and meaning are those of Prediction. On a GPU both arrays have `__cuda_array_interface__` and
    DLPack, and low_res_masks is a view with strides; on a CPU they are numpy arrays.
    """

    low_res_masks: Any
    iou_predictions: Any


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image that is ready for predict; its embeddings are left in the engines' memory."""

    image_embeddings: Any
    geometry: Geometry
    mask_resizer: MaskResizer


class Predictor:
    """Segments one image at a time. Give each thread a new_session() of its own."""

    def __init__(self, manifest: Manifest, engines: Engines, resize: str = "longest-side") -> None:
        """Uses `engines`, the graphs of `manifest`. Most callers want from_bundle()."""
        if resize not in RESIZES:
            raise ImageError(f"resize {resize!r} is unknown; choose {' or '.join(RESIZES)}")
        self.manifest = manifest
        self.timings: dict[str, float] = {}
        """Milliseconds of each stage, of its last successful run."""
        self._engines = engines
        self._resize = resize
        self._picture: _Picture | None = None
        self._shared: Engines | None = None  # of a session: the engines of the predictor that it came from

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str] | Bundle | None = None,
        backend: str = "auto",
        enhance: bool = True,
        resize: str = "longest-side",
        stream: object = None,
        threads: int = 0,
    ) -> Predictor:
        """Opens a bundle; without `path`, the one in this package. enhance=False: plain SAM, no GLE.

        backend: NAME[:DEVICE[:HINT]], such as "openvino:gpu"; "auto" chooses by machine and precision.
        resize: "longest-side", SAM's own, or "squash-512", the one of the authors' evaluation.
        stream: a CUDA stream (a handle, or an object of PyCUDA, cuda-python, torch or CuPy) for a backend
        on a GPU to queue its work on; see docs/nvidia.md.
        threads: threads of the CPU for each call; 0: one on each core that this process may use (taskset,
        cgroup). A GPU ignores it.
        Raises BundleError, BackendError, or ImageError for an unknown `resize`.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(path)
        graphs = open_engines(backend, bundle, enhance, stream, threads)
        engines = Engines(graphs["image_encoder"], graphs.get("gle"), graphs["mask_decoder"])
        return cls(bundle.manifest, engines, resize)

    def new_session(self, stream: object = None) -> Predictor:
        """Returns another predictor on the same compiled graphs, with an image of its own.

        On a GPU it has its own buffers and its own stream, or the caller's `stream`, as in from_bundle.
        """
        session = Predictor(self.manifest, self._engines.new_session(stream), self._resize)
        session._shared = self._engines
        return session

    def set_image(self, image: Pixels) -> None:
        """Encodes and enhances `image`, uint8 [H,W,3] RGB.

        A device array is copied to the host, where images are resized; set_tensor makes no copy.
        Raises ImageError for any other type or shape, and BackendError where an array cannot be copied: the
        previous image stays. Raises BackendError where a graph fails: no image is held then.
        """
        model = self.manifest
        with self._timed("preprocess"):
            image = _on_host(image)
            check_image(image)
            tensor, geometry = preprocess(
                image, model.image_size, model.pixel_mean, model.pixel_std, self._resize
            )
        self._encode(tensor, geometry)

    def set_tensor(self, image: Any, geometry: Geometry) -> None:  # noqa: ANN401
        """Encodes and enhances a preprocessed image: float32 [1,3,S,S], in C order.

        geometry: geometry_of the image's size. The image must be resized to `geometry.resized_size` and
        normalised with the manifest's pixel_mean and pixel_std; it lies at the top left, padded with zeros.
        A backend on a GPU takes a device array without a copy.
        Raises ImageError for a geometry of another model: the previous image stays. Raises BackendError for
        a tensor that does not fit: no image is held then.
        """
        if geometry.image_size != self.manifest.image_size:
            raise ImageError(
                f"geometry: expected one for {self.manifest.image_size} pixels, found {geometry.image_size}; "
                "take this predictor's geometry_of(size)"
            )
        self._encode(image, geometry)

    def geometry_of(self, original_size: Size) -> Geometry:
        """Returns where an image of `original_size`, (height, width) [px], lies in set_tensor's input."""
        return RESIZES[self._resize].geometry(original_size, self.manifest.image_size)

    def _encode(self, tensor: Any, geometry: Geometry) -> None:  # noqa: ANN401
        """Runs the encoder and GLE on a preprocessed image."""
        # From here on the previous image's embeddings may be overwritten, even if this image fails.
        self._picture = None
        with self._timed("encode"):
            encoded = self._engines.image_encoder({"image": tensor}, on_device=True)
            embeddings = encoded["image_embeddings"]
        if self._engines.gle is not None:
            with self._timed("enhance"):
                enhanced = self._engines.gle({"image_embeddings": embeddings}, on_device=True)
                embeddings = enhanced["image_embeddings_enhanced"]
        self._picture = _Picture(embeddings, geometry, MaskResizer.for_geometry(geometry))

    @property
    def geometry(self) -> Geometry:
        """Place of the current image in the input. Raises ImageError before set_image."""
        return self._current().geometry

    @property
    def mask_resizer(self) -> MaskResizer:
        """Resizer of masks to the current image. Raises ImageError before set_image."""
        return self._current().mask_resizer

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
        """Returns the mask of one prompt, or of all `prompts` with one call of the decoder.

        Coordinates are pixels of the image passed to set_image; see Prompt for the rest.
        multimask=True: three candidates per prompt, not sorted by score, instead of the single mask.
        Raises PromptError for a prompt that does not fit, ImageError before set_image, BackendError
        where the graphs answer with NaN instead of masks.
        """
        single = Prompt(box, points, background_points, mask_input)
        low_res_masks, scores = self.decode(one_or_several(single, prompts), multimask)
        with self._timed("postprocess"):
            masks = self.mask_resizer.masks(low_res_masks, self.manifest.mask_threshold)
        return Prediction(masks, scores, low_res_masks)

    def decode(self, prompts: Sequence[Prompt], multimask: bool = False) -> tuple[Floats, Floats]:
        """Returns low_res_masks and iou_predictions of a Prediction, without resizing any mask.

        It suits a caller that drops most masks by their score; mask_resizer makes masks of the others.
        Raises as predict does.
        """
        outputs = self._decode(prompts, multimask, on_device=False)
        candidates = _candidates(multimask)
        # Copies: a view of one mask would keep all four in memory.
        low_res_masks = outputs["low_res_masks"][:, candidates].astype(np.float32)
        scores = outputs["iou_predictions"][:, candidates].astype(np.float32)
        if not (np.isfinite(low_res_masks).all() and np.isfinite(scores).all()):
            raise BackendError(
                f"the {self.manifest.precision} graphs gave NaN or infinite masks here; "
                "export the bundle with --precision fp32, and report the picture"
            )
        return low_res_masks, scores

    def predict_on_device(self, prompts: Sequence[Prompt], multimask: bool = False) -> DevicePrediction:
        """Returns the logits of `prompts` from one call of the decoder; on a GPU they stay there.

        Nothing is resized to the image or checked for NaN. The arrays are valid until this session's next
        call; on the caller's own stream they may not be ready when this returns. Raises as predict does.
        """
        outputs = self._decode(prompts, multimask, on_device=True)
        candidates = _candidates(multimask)
        return DevicePrediction(
            outputs["low_res_masks"][:, candidates], outputs["iou_predictions"][:, candidates]
        )

    def close(self) -> None:
        """Frees the engines, and those of every session that was made from this predictor.

        A session frees only what is its own.
        """
        self._engines.close(self._shared)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self, prompts: Sequence[Prompt], multimask: bool, on_device: bool) -> Mapping[str, Any]:
        if multimask and not self.manifest.multimask:
            raise PromptError(
                f"model {self.manifest.name!r} has dead mask heads 1 to 3 (its decoder was trained with one "
                "mask output), so it has no multimask; call it without multimask, or the command without "
                "--multimask"
            )
        picture = self._current()
        with self._timed("decode"):
            feeds = encode_prompts(prompts, picture.geometry).feeds(picture.image_embeddings)
            return self._engines.mask_decoder(feeds, on_device)

    def _current(self) -> _Picture:
        if self._picture is None:
            raise ImageError("no picture yet: call set_image(image) before predict(...)")
        return self._picture

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Measures the block, if it ends without an error."""
        start = time.perf_counter()
        yield
        self.timings[stage] = (time.perf_counter() - start) * 1000


def _candidates(multimask: bool) -> int | slice:
    """Returns the decoder's outputs to use: 0 is SAM's single mask, 1 to 3 are its candidates."""
    return slice(1, 4) if multimask else 0


def _on_host(image: Any) -> Any:  # noqa: ANN401
    """Returns a device array's copy on the host; anything else unchanged."""
    if isinstance(image, np.ndarray):
        return image
    from .engines.device_array import is_on_device, to_host  # a CPU's user never needs it

    return to_host("image", image) if is_on_device(image) else image


def check_image(image: object) -> None:
    """Raises ImageError for anything but uint8 [H,W,3] with at least one pixel."""
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        kind = f"{image.dtype} {list(image.shape)}"
    else:
        return
    raise ImageError(
        f"image: expected a uint8 array [H,W,3], RGB, found {kind}; "
        "convert it, for example with glesam_runtime.read_image(path)"
    )
