"""From an image to masks.

    predictor = Predictor.from_bundle()                        # the shipped model
    predictor.set_image(image)                                 # slow: encoder and GLE, once per image
    prediction = predictor.predict(box=(20, 40, 300, 280))     # fast: decoder only, once per prompt

GLE is generative latent space enhancement, GleSAM's part between the encoder and the decoder.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bundle.manifest import Manifest
from .bundle.options import AUXILIARY_IMAGE, DEGRADATION_LEVEL, takes_auxiliary
from .bundle.reader import Bundle
from .engines import device_of, open_engines, pick_for_bundle
from .engines.base import Engines
from .errors import BackendError, ImageError, PromptError
from .image_io.auxiliary import Auxiliary, check_auxiliary, preprocess_auxiliary
from .image_io.inputs import as_pixels, check_several, on_host
from .postprocess import MaskResizer
from .preprocess import RESIZES, Floats, Geometry, Size, model_input
from .prompts import Box, Points, Prompt, PromptTensors, encode_prompts, gathered_prompts
from .tools.records.prediction import DevicePrediction, Prediction

__all__ = ["DevicePrediction", "Prediction", "Predictor"]


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image that is ready for predict; its features are left in the engines' memory.

    encoded: the encoder's outputs by name. enhanced: GLE's; None without GLE. degradation_level: GLE's [1],
    or None.
    """

    encoded: Mapping[str, Any]
    enhanced: Any
    degradation_level: Any
    geometry: Geometry
    mask_resizer: MaskResizer


class Predictor:
    """Segments one image at a time. Give each thread a new_session() of its own."""

    def __init__(
        self,
        model: Manifest | Bundle | str | os.PathLike[str],
        engines: Engines | None = None,
        resize: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Opens `model`, "nano" or a bundle, with the `options` of from_bundle.

        With `engines`, the graphs of a Manifest that the caller opened, `model` is that manifest.
        """
        if resize is not None:
            _check_resize(resize)
        self.backend = ""
        """Backend of the graphs, such as "onnxruntime" or "openvino:gpu"; "" for the caller's engines."""
        if isinstance(model, Manifest) == (engines is None) or (engines is not None and options):
            raise BackendError(
                "expected a Manifest with engines=Engines(...), or else a bundle and no engines; "
                "the other options are those of a bundle"
            )
        if not isinstance(model, Manifest):
            bundle = model if isinstance(model, Bundle) else Bundle.open(model)
            model, engines, self.backend = bundle.manifest, *_opened(bundle, **options)
        assert engines is not None
        self.manifest = model
        self.timings: dict[str, float] = {}
        """Milliseconds of each stage, of its last successful run."""
        self._engines = engines
        self.resize: str = model.resize if resize is None else resize
        """How pictures are resized: a name in glesam_runtime.preprocess.RESIZES."""
        self._picture: _Picture | None = None
        self._shared: Engines | None = None  # of a session: the engines of the predictor that it came from

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str] | Bundle | None = None,
        backend: str = "auto",
        enhance: bool = True,
        resize: str | None = None,
        stream: object = None,
        threads: int = 0,
    ) -> Predictor:
        """Opens a bundle; without `path`, the one in this package. enhance=False: plain SAM, no GLE.

        backend: NAME[:DEVICE[:HINT]], such as "openvino:gpu"; "auto" chooses by machine and precision.
        resize: "longest-side", SAM's own, "squash", SAM 2's, or "squash-512", the one of the authors'
        evaluation; None: as the bundle says.
        stream: a CUDA stream (a handle, or an object of PyCUDA, cuda-python, torch or CuPy) for a backend
        on a GPU to queue its work on; see docs/nvidia.md.
        threads: threads of the CPU for each call; 0: one on each core that this process may use (taskset,
        cgroup). A GPU ignores it.
        Raises BundleError, BackendError, or ImageError for an unknown `resize`.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(path)
        return cls(bundle, None, resize, backend=backend, enhance=enhance, stream=stream, threads=threads)

    def new_session(self, stream: object = None) -> Predictor:
        """Returns another predictor on the same compiled graphs, with an image of its own.

        On a GPU it has its own buffers and its own stream, or the caller's `stream`, as in from_bundle.
        """
        session = Predictor(self.manifest, self._engines.new_session(stream), self.resize)
        session._shared, session.backend = self._engines, self.backend
        return session

    @property
    def device(self) -> str:
        """Where `backend` computes: "cpu", "cuda", or the device in its name, such as "gpu" or "npu"."""
        return device_of(self.backend) if self.backend else ""

    def set_image(
        self,
        image: Any,  # noqa: ANN401
        image_format: str = "RGB",
        auxiliary: Auxiliary | None = None,
    ) -> None:
        """Encodes and enhances `image`: a path, a PIL image, or an array, uint8 [H,W,3].

        image_format: "RGB" or, for an array of OpenCV's, "BGR".
        auxiliary: for a bundle whose GLE has that input, the aligned image of a second sensor: uint8 or
        uint16 [H,W], as large as `image`, 0 where nothing is known. Without it GLE computes what it would
        without the sensor.
        A device array is copied to the host, where images are resized; set_tensor makes no copy.
        Raises ImageError for any other type or shape, and BackendError where an array cannot be copied: the
        previous image stays. Raises BackendError where a graph fails: no image is held then.
        """
        with self._timed("preprocess"):
            pixels = as_pixels(image, image_format)
            if auxiliary is not None:
                self._require_auxiliary_input()
                check_auxiliary(auxiliary, (pixels.shape[0], pixels.shape[1]))
            tensor, geometry = model_input(pixels, self.manifest, self.resize)
            second = None if auxiliary is None else preprocess_auxiliary(auxiliary, geometry)
        self._encode(tensor, geometry, second)

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
        return RESIZES[self.resize].geometry(original_size, self.manifest.image_size)

    def _encode(self, tensor: Any, geometry: Geometry, auxiliary: Floats | None = None) -> None:  # noqa: ANN401
        """Runs the encoder and GLE on a preprocessed image."""
        # From here on the previous image's features may be overwritten, even if this image fails.
        self._picture = None
        with self._timed("encode"):
            encoded = self._engines.image_encoder({"image": tensor}, on_device=True)
        enhanced, level = None, None
        if self._engines.gle is not None:
            with self._timed("enhance"):
                second = {} if auxiliary is None else {AUXILIARY_IMAGE: auxiliary}
                feeds = {"image_embeddings": encoded["image_embeddings"], **second}
                answer = self._engines.gle(feeds, on_device=True)
                enhanced = answer["image_embeddings_enhanced"]
                level = answer.get(DEGRADATION_LEVEL)
        self._picture = _Picture(encoded, enhanced, level, geometry, MaskResizer.for_geometry(geometry))

    def _require_auxiliary_input(self) -> None:
        """Raises ImageError where an auxiliary image would have no use."""
        gle = self._engines.gle
        if gle is None or not takes_auxiliary(gle.spec):
            why = (
                "GLE is off" if gle is None else f"the GLE of model {self.manifest.name!r} has no such input"
            )
            raise ImageError(f"auxiliary image: {why}; leave it out, or open a bundle whose GLE has it")

    def reset_image(self) -> None:
        """Forgets the current image."""
        self._picture = None

    @property
    def image_embeddings(self) -> Any:  # noqa: ANN401
        """Embeddings of the current image, float32 [1,256,S/16,S/16], enhanced; on a GPU a device array.

        RobustSAM's have 768 channels. Raises ImageError before set_image.
        """
        picture = self._current()
        return picture.encoded["image_embeddings"] if picture.enhanced is None else picture.enhanced

    @property
    def geometry(self) -> Geometry:
        """Place of the current image in the input. Raises ImageError before set_image."""
        return self._current().geometry

    @property
    def degradation_level(self) -> float | None:
        """Predicted degradation of the current image: 0 clean, 1 to 3 as GleSAM's LQ-1 to LQ-3.

        None where the bundle's GLE does not predict it, or GLE is off. Raises ImageError before set_image,
        BackendError where it is NaN.
        """
        picture = self._current()
        if picture.degradation_level is None:
            return None
        level = on_host(DEGRADATION_LEVEL, picture.degradation_level)
        self._picture = replace(picture, degradation_level=level)  # copied from a GPU once
        value = float(level[0])
        if not math.isfinite(value):
            raise self._not_finite("a NaN or infinite degradation level")
        return value

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
        boxes: Any = None,  # noqa: ANN401
        point_coords: Any = None,  # noqa: ANN401
        point_labels: Any = None,  # noqa: ANN401
        multimask_output: bool = False,
    ) -> Prediction:
        """Returns the mask of one prompt, or of several with one call of the decoder.

        Coordinates are pixels of the image passed to set_image; see Prompt for the rest.
        Several are `prompts`, or `boxes` [N,4], or `point_coords` [N,P,2] with `point_labels` [N,P]: 1 on the
        object, 0 beside it, as in SAM; point_coords [P,2] are one prompt, with a box or a mask if you like.
        multimask=True, or SAM's multimask_output=True: three candidates per prompt, not sorted by score,
        instead of the single mask.
        Raises PromptError for a prompt that does not fit, ImageError before set_image, BackendError
        where the graphs answer with NaN instead of masks.
        """
        single = Prompt(box, points, background_points, mask_input)
        several = gathered_prompts(single, prompts, boxes, point_coords, point_labels)
        low_res_masks, scores = self.decode(several, multimask or multimask_output)
        with self._timed("postprocess"):
            masks = self.mask_resizer.masks(low_res_masks, self.manifest.mask_threshold)
        return Prediction(masks, scores, low_res_masks, self.degradation_level)

    def predict_each(
        self,
        images: Iterable[Any],
        image_format: str = "RGB",
        **prompts: Any,  # noqa: ANN401
    ) -> Iterator[Prediction]:
        """Yields the prediction of each of `images`, which are what set_image takes, one after another.

        prompts: what predict takes, the same for every image. Raises as set_image and predict do.
        """
        check_several(images)
        for image in images:
            self.set_image(image, image_format)
            yield self.predict(**prompts)

    def decode(
        self, prompts: Sequence[Prompt] | PromptTensors, multimask: bool = False
    ) -> tuple[Floats, Floats]:
        """Returns low_res_masks and iou_predictions of a Prediction, without resizing any mask.

        PromptTensors are in the frame of the input already and are not checked against the image.
        It suits a caller that drops most masks by their score; mask_resizer makes masks of the others.
        Raises as predict does.
        """
        outputs = self._decode(prompts, multimask, on_device=False)
        candidates = _candidates(multimask)
        # Copies: a view of one mask would keep all four in memory.
        low_res_masks = outputs["low_res_masks"][:, candidates].astype(np.float32)
        scores = outputs["iou_predictions"][:, candidates].astype(np.float32)
        if not (np.isfinite(low_res_masks).all() and np.isfinite(scores).all()):
            raise self._not_finite("NaN or infinite masks")
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

    def _decode(
        self, prompts: Sequence[Prompt] | PromptTensors, multimask: bool, on_device: bool
    ) -> Mapping[str, Any]:
        if multimask and not self.manifest.multimask:
            raise PromptError(
                f"model {self.manifest.name!r} has no multimask: its mask heads 1 to 3 are dead (its decoder "
                "was trained with one mask output) or, as RobustSAM's, have no scores; call it without "
                "multimask, or the command without --multimask"
            )
        picture = self._current()
        with self._timed("decode"):
            if isinstance(prompts, PromptTensors):
                tensors = prompts
            else:
                tensors = encode_prompts(prompts, picture.geometry, self.manifest.family)
            feeds = tensors.feeds(picture.encoded, picture.enhanced)
            return self._engines.mask_decoder(feeds, on_device)

    def _not_finite(self, what: str) -> BackendError:
        return BackendError(
            f"the {self.manifest.precision} graphs gave {what} here; "
            "export the bundle with --precision fp32, and report the picture"
        )

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


def _check_resize(resize: str) -> None:
    """Raises ImageError for a name that is not in RESIZES."""
    if resize not in RESIZES:
        raise ImageError(f"resize {resize!r} is unknown; choose {' or '.join(RESIZES)}")


def _opened(
    bundle: Bundle, backend: str = "auto", enhance: bool = True, stream: int | None = None, threads: int = 0
) -> tuple[Engines, str]:
    """Returns the compiled graphs of a bundle, and the backend that "auto" became."""
    graphs = open_engines(backend, bundle, enhance, stream, threads)
    engines = Engines(graphs["image_encoder"], graphs.get("gle"), graphs["mask_decoder"])
    return engines, pick_for_bundle(backend, bundle)[0]
