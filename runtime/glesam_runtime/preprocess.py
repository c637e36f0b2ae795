"""Converts a uint8 picture to the encoder's input in numpy and PIL, with the results of SAM's own steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .bundle.manifest import Manifest

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width) in pixels, as SAM orders it."""

_AUTHORS_SIZE_PX = 512  # the authors' evaluation squashes every picture to 512 x 512 first


@dataclass(frozen=True)
class Geometry:
    """Place of the original picture in the S x S input: at the top left, resized to `resized_size`.

    direct_masks: masks are resized from S/4 straight to the original size, as the authors'
    evaluation and SAM 2 do, instead of through S as SAM does.
    """

    original_size: Size
    resized_size: Size
    image_size: int
    direct_masks: bool = False

    def to_input(self, points: Doubles) -> Floats:
        """Returns points (x, y) [..., 2] of the original picture in pixels of the input."""
        height, width = self.original_size
        resized_height, resized_width = self.resized_size
        # float64 like ResizeLongestSide.apply_coords, rounded to float32 once.
        scale = np.array([resized_width / width, resized_height / height])
        scaled: Floats = (points * scale).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class Resize:
    """A way to fit a picture into S x S: the geometry, and the resizing to uint8 or float32 [h,w,3]."""

    geometry: Callable[[Size, int], Geometry]
    resized: Callable[[Pixels, Geometry], npt.NDArray[Any]]


def longest_side(original_size: Size, image_size: int) -> Geometry:
    """Returns SAM's geometry: the longest side becomes S, the aspect ratio is kept, the rest is padding."""
    height, width = original_size
    scale = image_size / max(height, width)
    # SAM rounds the short side of an extreme panorama to 0 pixels, which no resizing allows.
    resized = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    return Geometry(original_size, resized, image_size)


def squash(original_size: Size, image_size: int) -> Geometry:
    """Returns the authors' and SAM 2's geometry: the picture fills the input and loses its aspect ratio."""
    return Geometry(original_size, (image_size, image_size), image_size, direct_masks=True)


def resampled(picture: Image.Image, size: Size, resampling: Image.Resampling) -> Image.Image:
    """Returns `picture` resized to `size` (H, W), rows first and then columns, each rounded to 8 bits.

    By itself Pillow 13 resizes the columns of some tall pictures first, which rounds otherwise than older
    versions, SAM and the C++ library.
    """
    height, width = size
    return picture.resize((width, picture.height), resampling).resize((width, height), resampling)


def _bilinear(image: Pixels, geometry: Geometry) -> Pixels:
    return _bilinear_picture(Image.fromarray(image), geometry)


def _bilinear_picture(picture: Image.Image, geometry: Geometry) -> Pixels:
    return np.asarray(resampled(picture, geometry.resized_size, Image.Resampling.BILINEAR))


def _through_512(image: Pixels, geometry: Geometry) -> Pixels:
    """Resizes to 512 x 512 first, as the authors' evaluation does."""
    size = (_AUTHORS_SIZE_PX, _AUTHORS_SIZE_PX)
    small = resampled(Image.fromarray(image), size, Image.Resampling.BICUBIC)
    return _bilinear_picture(small, geometry)


def _unrounded(image: Pixels, geometry: Geometry) -> Floats:
    """Resizes as SAM 2 does: `_bilinear` without rounding, float32 [h,w,3] in [0, 255].

    It is torch's antialiased bilinear resizing: the mean of the pixels under a triangle, which is two output
    pixels wide where the picture shrinks and two input pixels wide where it grows. Pillow sums in float64 in
    the order of the pixels and rounds to float32 after the rows and after the columns.
    """
    bands = [band.convert("F") for band in Image.fromarray(image).split()]
    resized = [resampled(band, geometry.resized_size, Image.Resampling.BILINEAR) for band in bands]
    return np.stack([np.asarray(band) for band in resized], axis=-1)


RESIZES = {
    "longest-side": Resize(longest_side, _bilinear),
    "squash": Resize(squash, _unrounded),
    "squash-512": Resize(squash, _through_512),
}
"""Ways to resize by name: SAM's, SAM 2's, and the one that reproduces the authors' published table."""


def model_input(image: Pixels, model: Manifest, resize: str | None = None) -> tuple[Floats, Geometry]:
    """Returns the encoder's input for `image` as `preprocess` does, with the numbers of a bundle.

    resize: a name in RESIZES; None: the bundle's own.
    """
    return preprocess(image, model.image_size, model.pixel_mean, model.pixel_std, resize or model.resize)


def preprocess(
    image: Pixels,
    image_size: int,
    pixel_mean: tuple[float, float, float],
    pixel_std: tuple[float, float, float],
    resize: str = "longest-side",
) -> tuple[Floats, Geometry]:
    """Returns the encoder's input float32 [1,3,S,S] for `image`, uint8 [H,W,3] RGB, and its geometry.

    In SAM's order the picture is resized, normalised with `pixel_mean` and `pixel_std` (in [0, 255]), and
    padded with zeros at the bottom and right. `resize` is a name in RESIZES.
    """
    strategy = RESIZES[resize]
    geometry = strategy.geometry((image.shape[0], image.shape[1]), image_size)
    resized = strategy.resized(image, geometry)
    height, width = geometry.resized_size
    padded = np.zeros((1, 3, image_size, image_size), np.float32)
    # One channel at a time: numpy's arithmetic along an axis of three takes as long as resizing.
    for channel, (mean, std) in enumerate(zip(pixel_mean, pixel_std, strict=True)):
        plane = padded[0, channel, :height, :width]
        np.subtract(resized[:, :, channel], np.float32(mean), out=plane, dtype=np.float32)
        plane /= np.float32(std)
    return padded, geometry
