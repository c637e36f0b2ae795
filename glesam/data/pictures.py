"""Label maps and binary masks, on the runtime's picture reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import Mask
from glesam_runtime.errors import InputError
from glesam_runtime.image_io import read_mask, read_numbers
from glesam_runtime.image_io.masks import HALF

VOIDS = (255, 65535)
"""What data sets of classes write, in 8 and 16 bits, around objects and where nothing is known."""


def read_label_map(path: Path) -> NDArray[np.int64]:
    """Reads a label map as int64 [H, W]: the numbers that a file of 8, 16 or 32 bits or a palette holds.

    Raises ImageError where the file is missing or broken, or holds colours or fractions.
    """
    labels = read_numbers(path)
    return labels.astype(np.int64)


def check_void(labels: NDArray[np.int64], ignored_labels: tuple[int, ...], path: Path) -> None:
    """Raises InputError where a number seems to mark void: it stands apart from the other labels, and is one.

    Data sets of classes draw 255, 65535 or -1 around objects; as a label it would be an object itself.
    """
    counted = [label for label in np.unique(labels).tolist() if label not in (0, *ignored_labels)]
    void = next((label for label in counted if label < 0 or label in VOIDS), None)
    if void is None or (void > 0 and (void != counted[-1] or counted[-2:-1] in ([], [void - 1]))):
        return
    others = [label for label in counted if label != void]
    raise InputError(
        f"{path}: found {void} beside labels up to {max(others, default=0)}, "
        f"where {void} usually marks void; add {void} to the set's ignored_labels, or renumber that label"
    )


def read_binary_mask(path: Path) -> Mask:
    """Reads a mask as bool [H, W], as a viewer shows it; white is the object.

    Greys, as in a JPEG or at a smoothed edge, are white from half of full scale on; 1 on 0 is white, too.

    Raises ImageError as `read_label_map` does, and for what looks like a label map.
    """
    mask: Mask = read_mask(path) >= HALF
    return mask
