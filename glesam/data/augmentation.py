"""Random views of a picture: one affine map for the picture and its masks, then colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import MaskLayers

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

MAX_ROTATION = math.radians(12)
MAX_SHEAR = 0.12
"""Largest shear, px sideways per px upwards."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class View:
    """A picture as training sees it: `image` uint8 [h, w, 3] and its masks.

    `scale` is the number of px of the view per px of the stored picture, along an axis.
    """

    image: Image
    masks: MaskLayers
    scale: float


@dataclass(frozen=True, eq=False)
class Window:
    """The affine map from a stored picture to a view.

    `linear` [2, 2] maps the stored picture to the view, [px/px]. `centre` (x, y), in px of the stored
    picture, becomes the view's centre. `size` is the view's (w, h). `stretch` (x, y), of product 1, is what
    `linear` does to the aspect ratio.
    """

    linear: Matrix
    centre: NDArray[np.float64]
    size: tuple[int, int]
    stretch: tuple[float, float] = (1.0, 1.0)

    def matrix(self, shrink: NDArray[np.float64] | float = 1.0) -> Matrix:
        """The map [2, 3] between pixel indices, from a picture whose axes (x, y) were resized by `shrink`.

        The half pixels are there because index 0 is the centre of a pixel that begins at 0.
        """
        linear = self.linear / shrink
        offset = np.array(self.size) / 2 - self.linear @ self.centre
        return np.column_stack([linear, offset + linear @ (0.5, 0.5) - 0.5])


def random_view(
    image: Image,
    masks: MaskLayers,
    size: int,
    zoom: tuple[float, float],
    affine_share: float,
    rng: np.random.Generator,
    squash: bool = False,
) -> View:
    """A view of random size, flipped, cropped to at most `size` px, rotated and sheared (`affine_share`).

    `zoom` bounds the random size, 1 being the fit of the longest side. `affine_share` of the views are
    rotated and sheared. Views never look past the edge of their picture: a rotated one is enlarged until it
    covers its window.

    With `squash` the picture becomes a square first, as SAM 2 sees it. Every view is then `size` px wide and
    high, and a zoom below 1 has no effect.
    """
    height, width = image.shape[:2]
    fit = size / math.sqrt(height * width) if squash else size / max(height, width)
    factor = fit * float(np.exp(rng.uniform(*np.log(zoom))))
    turned = random_turn(rng, affine_share)
    window = random_window((width, height), factor, turned, size, rng, squash)
    scale = math.sqrt(abs(np.linalg.det(window.linear)))
    return View(warp_image(image, window), warp_masks(masks, window), scale)


def random_turn(rng: np.random.Generator, affine_share: float) -> Matrix:
    """A random linear map [2, 2] of area 1: mirrored or not, and sometimes rotated and sheared."""
    mirror = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    if rng.random() >= affine_share:
        return mirror
    angle, shear = rng.uniform(-MAX_ROTATION, MAX_ROTATION), rng.uniform(-MAX_SHEAR, MAX_SHEAR)
    cos, sin = math.cos(angle), math.sin(angle)
    turned: Matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]]) @ mirror
    return turned


def random_window(
    picture: tuple[int, int],
    factor: float,
    turned: Matrix,
    size: int,
    rng: np.random.Generator,
    squash: bool = False,
) -> Window:
    """A random window within the enlarged picture, as large as the picture but at most `size` px.

    With `squash` the picture, turned, is also made a square, and the window has `size` px a side.
    """
    extent = np.array(picture, float)
    stretch = np.sqrt(extent[::-1] / extent) if squash else np.ones(2)
    window = np.full(2, size, float) if squash else np.clip(np.round(extent * factor), 1, size)
    turned = stretch[:, None] * turned
    half_seen = np.abs(np.linalg.inv(turned)) @ window / 2  # px of the picture, were the factor 1
    factor = max(factor, float((half_seen / (extent / 2)).max()))
    margin = np.minimum(half_seen / factor, extent / 2)
    centre = rng.uniform(margin, extent - margin)
    size_px = int(window[0]), int(window[1])
    return Window(turned * factor, centre, size_px, (float(stretch[0]), float(stretch[1])))


def warp_image(image: Image, window: Window, border: int = cv2.BORDER_REPLICATE) -> Image:
    """Maps a picture into the window, bilinearly.

    A picture that shrinks is averaged first, or its fine structure would alias. `border` is OpenCV's rule
    for what lies past the picture's edge.
    """
    height, width = image.shape[:2]
    factor = math.sqrt(abs(np.linalg.det(window.linear)))
    along_x, along_y = (min(1.0, factor * stretch) for stretch in window.stretch)
    shrink = np.ones(2)
    if min(along_x, along_y) < 1:
        smaller = max(1, round(width * along_x)), max(1, round(height * along_y))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
        shrink = np.array(smaller) / (width, height)
    warped = cv2.warpAffine(
        image, window.matrix(shrink), window.size, flags=cv2.INTER_LINEAR, borderMode=border
    )
    return np.asarray(warped, np.uint8)


def warp_masks(masks: MaskLayers, window: Window) -> MaskLayers:
    """Maps masks into the window by the nearest pixel, all masks of a layer at once."""
    width, height = window.size
    layers = np.empty((len(masks.layers), height, width), np.uint8)
    for source, target in zip(masks.layers, layers, strict=True):
        cv2.warpAffine(
            source, window.matrix(), window.size, target, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
    return MaskLayers(layers, masks.places)


def jitter_colours(image: Image, rng: np.random.Generator) -> Image:
    """Changes brightness, saturation and white balance at random, by one matrix for all pixels."""
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3)
    saturation = rng.uniform(0.6, 1.4)
    mixed = saturation * np.eye(3) + (1 - saturation) * np.array(LUMA)
    shift = np.full((3, 1), rng.uniform(-20, 20))
    return np.asarray(cv2.transform(image, np.hstack([gain[:, None] * mixed, shift])), np.uint8)
