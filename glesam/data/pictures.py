"""Label maps and binary masks, on the runtime's picture reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import Mask
from glesam_runtime.image_io import read_mask, read_numbers
from glesam_runtime.image_io.masks import HALF


def read_label_map(path: Path) -> NDArray[np.int64]:
    """Reads a label map as int64 [H, W]: the numbers that a file of 8, 16 or 32 bits or a palette holds.

    Raises ImageError where the file is missing or broken, or holds colours or fractions.
    """
    labels = read_numbers(path, "a label map")
    return labels.astype(np.int64)


def read_binary_mask(path: Path) -> Mask:
    """Reads a mask as bool [H, W], as a viewer shows it; white is the object.

    Greys, as in a JPEG or at a smoothed edge, are white from half of full scale on; 1 on 0 is white, too.

    Raises ImageError as `read_label_map` does, and for what looks like a label map.
    """
    mask: Mask = read_mask(path) >= HALF
    return mask
