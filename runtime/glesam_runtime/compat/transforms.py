"""segment-anything's ResizeLongestSide: the way from a picture's pixels into the frame of the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..preprocess import RESIZES, Doubles, Pixels, Size, longest_side


class ResizeLongestSide:
    """Resizes so that the longest side becomes `target_length` pixels; sizes are (height, width).

    `resize` is another way of a bundle's: "squash" fills the square, as SAM 2's pictures do.
    """

    def __init__(self, target_length: int, resize: str = "longest-side") -> None:
        self.target_length = target_length
        self._way = RESIZES[resize]

    def apply_image(self, image: Pixels) -> npt.NDArray[Any]:
        """Returns `image`, uint8 [H,W,3], resized; "squash" gives float32 in [0, 255], without rounding."""
        geometry = self._way.geometry((image.shape[0], image.shape[1]), self.target_length)
        return np.array(self._way.resized(image, geometry))

    def apply_coords(self, coords: npt.NDArray[Any], original_size: Size) -> Doubles:
        """Returns points (x, y) [..., 2] of a picture of `original_size` in the resized one."""
        scaled: Doubles = np.asarray(coords, np.float64) * self._scale(original_size)
        return scaled

    def apply_boxes(self, boxes: npt.NDArray[Any], original_size: Size) -> Doubles:
        """Returns boxes (x0, y0, x1, y1) [B,4] of a picture in the resized one."""
        corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
        return self.apply_coords(corners, original_size).reshape(-1, 4)

    def apply_coords_torch(self, coords: Any, original_size: Size) -> Any:  # noqa: ANN401
        """Returns apply_coords of a torch tensor, as float32."""
        points = coords.float()
        return points * points.new_tensor(self._scale(original_size))

    def apply_boxes_torch(self, boxes: Any, original_size: Size) -> Any:  # noqa: ANN401
        """Returns apply_boxes of a torch tensor, as float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> Size:
        """Returns the size that a picture of `oldh` x `oldw` is resized to."""
        return longest_side((oldh, oldw), long_side_length).resized_size

    def _scale(self, original_size: Size) -> Doubles:
        """Returns the factors of x and y."""
        height, width = original_size[0], original_size[1]
        new_height, new_width = self._way.geometry((height, width), self.target_length).resized_size
        return np.array([new_width / width, new_height / height])
