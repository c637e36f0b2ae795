"""A picture in the form that a caller has it: a path, a PIL image, or an array on the host or a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError, first_line
from ..preprocess import Pixels
from .colours import shown
from .orientation import upright
from .pictures import pixels_of, read_image

IMAGE_FORMATS = ("RGB", "BGR")
"""Orders of an array's channels: PIL's, and OpenCV's."""


def as_pixels(image: Any, image_format: str = "RGB") -> Pixels:  # noqa: ANN401
    """Returns `image` as uint8 [H,W,3] RGB.

    image: a path, read as by read_image; a PIL image, shown as a viewer shows it; or an array, uint8 [H,W,3],
    whose channels are in the order `image_format`. A device array is copied to the host.
    Raises ImageError for anything else, and BackendError where a device array cannot be copied.
    """
    if image_format not in IMAGE_FORMATS:
        raise ImageError(f"image_format: expected {' or '.join(IMAGE_FORMATS)}, found {image_format!r}")
    if isinstance(image, (str, os.PathLike, Image.Image)):
        if image_format != "RGB":
            raise ImageError(
                f"image_format {image_format} is for arrays; a file and a PIL image say the order of their "
                "channels themselves, so leave it out"
            )
        return _from_pil(image) if isinstance(image, Image.Image) else read_image(image)
    array = on_host("image", image)
    check_image(array)
    pixels: Pixels = array if image_format == "RGB" else array[..., ::-1]
    return pixels


def check_image(image: object) -> None:
    """Raises ImageError for anything but uint8 [H,W,3] with at least one pixel."""
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        kind = f"{image.dtype} {list(image.shape)}"
    else:
        return
    raise ImageError(
        f"image: expected a uint8 array [H,W,3], RGB, found {kind}; convert it, or give a path or a PIL image"
    )


def check_several(images: object) -> None:
    """Raises ImageError for one picture where several are expected: the letters of a path are no pictures."""
    if isinstance(images, (str, os.PathLike, Image.Image)):
        found = f"one {type(images).__name__}"
    elif not isinstance(images, Iterable):
        found = type(images).__name__
    else:
        return
    raise ImageError(
        f"images: expected a list of pictures, found {found}; write [picture], or call set_image"
    )


def _from_pil(picture: Image.Image) -> Pixels:
    """Returns a PIL image as read_image returns its file: upright, in sRGB, on white."""
    try:
        picture.load()
        pixels = pixels_of(upright(shown(picture, "white"), picture.info.get("exif")))
    except ImageError:
        raise
    except Exception as error:  # a file that is read late: broken bytes make PIL raise nearly anything
        raise ImageError(f"PIL image: cannot be read to its end ({first_line(error)})") from error
    check_image(pixels)
    return pixels


def on_host(name: str, array: Any) -> Any:  # noqa: ANN401
    """Returns a device array's copy on the host; anything else unchanged. Errors call it `name`."""
    if isinstance(array, np.ndarray):
        return array
    from ..engines.device_array import is_on_device, to_host  # a CPU's user never needs it

    return to_host(name, array) if is_on_device(array) else array
