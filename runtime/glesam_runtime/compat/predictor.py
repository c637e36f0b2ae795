"""segment-anything's SamPredictor on a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.spec import Family
from ..errors import PromptError
from ..image_io.inputs import IMAGE_FORMATS, as_pixels, on_host
from ..postprocess import MaskResizer
from ..predictor import Predictor
from ..preprocess import Floats, Pixels, Size
from ..prompts import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    PADDING,
    PromptTensors,
    checked_logits,
    ends_with_padding,
    limit_logits,
)
from .model import ImageAssertionError, ImageNotSetError, PromptAssertionError, Sam, session_of
from .tensors import HostArray, as_array, is_tensor, like
from .transforms import ResizeLongestSide

Triple = tuple[npt.NDArray[Any], Floats, Floats]


class SamPredictor:
    """Segments one image by prompts; its signatures and results are segment-anything's.

    model, transform: as in segment-anything. session: the Predictor that runs it.
    is_image_set, features: the current image.
    original_size, input_size: its (height, width) before and after resizing.
    """

    def __init__(self, sam_model: Sam | Predictor) -> None:
        """Uses a Sam of sam_model_registry, or a Predictor; the image is this object's own."""
        self.session = session_of(sam_model)
        self.model = sam_model if isinstance(sam_model, Sam) else Sam(sam_model)
        self.transform = ResizeLongestSide(self.model.image_encoder.img_size, self.session.resize)
        self.reset_image()

    @property
    def device(self) -> str:
        """Where the backend computes: see Predictor.device."""
        return self.model.device

    def set_image(self, image: Pixels, image_format: str = "RGB") -> None:
        """Encodes `image`, uint8 [H,W,3], whose channels are in the order `image_format`, RGB or BGR.

        Raises ImageError for anything else; an AssertionError too for an unknown `image_format`.
        """
        if image_format not in IMAGE_FORMATS:
            raise ImageAssertionError(
                f"image_format: expected {' or '.join(IMAGE_FORMATS)}, found {image_format!r}"
            )
        pixels = as_pixels(image, image_format)
        self.session.set_image(pixels)
        self._has_image((pixels.shape[0], pixels.shape[1]))

    def set_torch_image(self, transformed_image: Any, original_image_size: Size) -> None:  # noqa: ANN401
        """Encodes an image that `transform` has resized: [1,3,h,w], values 0 to 255, of torch or numpy.

        original_image_size: (height, width) before. Raises an ImageError that is an AssertionError for a
        shape that does not fit.
        """
        pixels, side = as_array(transformed_image, np.float32), self.transform.target_length
        size: Size = original_image_size[0], original_image_size[1]
        geometry = self.session.geometry_of(size)
        if pixels.shape != (1, 3, *geometry.resized_size):
            raise ImageAssertionError(
                f"set_torch_image: expected {[1, 3, *geometry.resized_size]} for a picture of {list(size)}, "
                f"found {list(pixels.shape)}; resize with transform.apply_image"
            )
        model = self.session.manifest
        mean, std = (
            np.array(each, np.float32)[:, None, None] for each in (model.pixel_mean, model.pixel_std)
        )
        padded = np.zeros((1, 3, side, side), np.float32)
        padded[0, :, : pixels.shape[2], : pixels.shape[3]] = (pixels[0] - mean) / std
        self.session.set_tensor(padded, geometry)
        self._has_image(size)

    def predict(
        self,
        point_coords: npt.ArrayLike | None = None,
        point_labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: npt.ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Triple:
        """Returns masks [C,H,W], their scores float32 [C], and logits float32 [C,S/4,S/4] for one prompt.

        point_coords: [N,2], (x, y) in pixels of the image. point_labels: [N], 1 on the object, 0 beside it.
        box: (x0, y0, x1, y1). mask_input: logits [1,S/4,S/4] of an earlier prediction. multimask_output: C is
        3, otherwise 1. return_logits: masks are float32 logits instead of bool.
        Raises ImageNotSetError, a RuntimeError, before set_image; PromptAssertionError, an AssertionError,
        for points without labels; PromptError for other prompts that do not fit.
        """
        self._check_image_set("before mask prediction")
        if point_coords is not None and point_labels is None:
            raise PromptAssertionError("point_labels must be supplied if point_coords is supplied")
        coords = labels = boxes = masks = None
        if point_coords is not None:
            points = _checked("point_coords", as_array(point_coords), 2)
            coords = self.transform.apply_coords(points, self.original_size)[None]
            labels = as_array(point_labels)[None]
        if box is not None:
            boxes = self.transform.apply_boxes(_checked("box", as_array(box), 4), self.original_size)
        if mask_input is not None:
            masks = as_array(mask_input, np.float32)[None]
        answer = self.predict_torch(coords, labels, boxes, masks, multimask_output, return_logits)
        return answer[0][0], answer[1][0], answer[2][0]

    def predict_torch(
        self,
        point_coords: Any,  # noqa: ANN401
        point_labels: Any,  # noqa: ANN401
        boxes: Any = None,  # noqa: ANN401
        mask_input: Any = None,  # noqa: ANN401
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Returns masks [B,C,H,W], scores [B,C] and logits [B,C,S/4,S/4] for B prompts.

        point_coords [B,N,2], point_labels [B,N], boxes [B,4] and mask_input [B,1,S/4,S/4] are in the frame of
        the resized image: see `transform`. A mask alone goes with a padding point, as in SAM's ONNX export,
        which segment-anything leaves out. Tensors of torch are answered with tensors of torch, arrays of
        numpy with arrays of numpy. Raises as predict does.
        """
        self._check_image_set("before mask prediction")
        given = [each for each in (point_coords, boxes, mask_input) if each is not None]
        if not given:
            raise PromptError("no prompt: give point_coords with point_labels, a box or a mask_input")
        manifest = self.session.manifest
        tensors = _encoded(
            point_coords, point_labels, boxes, mask_input, manifest.image_size, manifest.family
        )
        low_res_masks, scores = self.session.decode(tensors, multimask_output)
        if not multimask_output:
            low_res_masks, scores = low_res_masks[:, None], scores[:, None]
        masks: npt.NDArray[Any]
        if return_logits:
            masks = _logits(self.session.mask_resizer, low_res_masks)
        else:
            masks = self.session.mask_resizer.masks(low_res_masks, self.model.mask_threshold)
        example = next(filter(is_tensor, given), None)
        return like(example, masks), like(example, scores), like(example, low_res_masks)

    def get_image_embedding(self) -> HostArray:
        """Returns the image's embeddings, float32 [1,256,S/16,S/16], enhanced where the model is.

        Raises ImageNotSetError before set_image.
        """
        self._check_image_set("to generate an embedding")
        embeddings = on_host("image_embeddings", self.session.image_embeddings)
        return as_array(embeddings, np.float32).view(HostArray)

    @property
    def features(self) -> HostArray | None:
        """get_image_embedding(), or None where no image is set."""
        return self.get_image_embedding() if self.is_image_set else None

    def reset_image(self) -> None:
        """Forgets the current image."""
        self.session.reset_image()
        self.is_image_set = False
        self.original_size: Size = (0, 0)
        self.input_size: Size = (0, 0)

    def _has_image(self, original_size: Size) -> None:
        self.is_image_set = True
        self.original_size = original_size
        self.input_size = self.session.geometry.resized_size

    def _check_image_set(self, purpose: str) -> None:
        if not self.is_image_set:
            raise ImageNotSetError(f"An image must be set with .set_image(...) {purpose}")


def _encoded(
    point_coords: Any,  # noqa: ANN401
    point_labels: Any,  # noqa: ANN401
    boxes: Any,  # noqa: ANN401
    mask_input: Any,  # noqa: ANN401
    image_size: int,
    family: Family,
) -> PromptTensors:
    """Returns B prompts as the decoder's inputs, in SAM's order: points, a box's corners, padding."""
    count = len(next(each for each in (point_coords, boxes, mask_input) if each is not None))
    coords, labels = np.zeros((count, 0, 2)), np.zeros((count, 0))
    if point_coords is not None:
        if point_labels is None:
            raise PromptAssertionError("point_labels must be supplied if point_coords is supplied")
        coords, labels = as_array(point_coords), as_array(point_labels)
    end, end_labels = np.zeros((count, 0, 2)), np.zeros((count, 0))
    if boxes is not None:
        end = _checked("boxes", as_array(boxes), 4).reshape(-1, 2, 2)
        end_labels = np.broadcast_to([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], (len(end), 2))
    if coords.ndim != 3 or coords.shape[2] != 2 or labels.shape != coords.shape[:2] or len(end) != count:
        raise PromptError(
            "prompts: expected point_coords [B,N,2], point_labels [B,N] and boxes [B,4] for the same B, "
            f"found {list(coords.shape)}, {list(labels.shape)} and {len(end)} boxes"
        )
    padding = int(ends_with_padding(boxes is not None, family))
    end = np.pad(end, ((0, 0), (0, padding), (0, 0)))
    end_labels = np.pad(end_labels, ((0, 0), (0, padding)), constant_values=PADDING)
    coords = np.concatenate([coords, end], axis=1).astype(np.float32)
    if not np.isfinite(coords).all():
        raise PromptError("prompts: expected finite coordinates in pixels, found NaN or infinity")
    labels = np.concatenate([labels, end_labels], axis=1).astype(np.int32)
    tensors = PromptTensors.without_masks(coords, labels, image_size)
    if mask_input is not None:
        masks = as_array(mask_input)
        if masks.ndim != 4 or masks.shape[:2] != (count, 1):
            side = image_size // 4
            raise PromptError(f"mask_input: expected [{count},1,{side},{side}], found {list(masks.shape)}")
        for row, mask in enumerate(masks):
            tensors.mask_input[row, 0] = checked_logits(mask[0], image_size // 4)
            tensors.has_mask_input[row] = 1
    limit_logits(tensors, family)
    return tensors


def _checked(name: str, values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Returns `values` [..., count]. Raises PromptError where the rows have another number of numbers."""
    if values.shape[-1:] != (count,) or not np.issubdtype(values.dtype, np.number):
        row = "(x, y)" if count == 2 else "(x0, y0, x1, y1)"
        raise PromptError(f"{name}: expected numbers {row} in each row, found {list(values.shape)}")
    return values


def _logits(resizer: MaskResizer, low_res_masks: Floats) -> Floats:
    """Returns logits of the picture's size, float32 [B,C,H,W]."""
    size = len(resizer.rows), len(resizer.columns)
    logits = np.empty((*low_res_masks.shape[:2], *size), np.float32)
    for index in np.ndindex(*low_res_masks.shape[:2]):
        for block, values in resizer.logits(low_res_masks[index]).blocks():
            logits[index][block] = values
    return logits
