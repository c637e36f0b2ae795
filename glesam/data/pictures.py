"""Label maps and binary masks, on the runtime's picture reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import Mask
from glesam_runtime.errors import InputError
from glesam_runtime.image_io import SIXTEEN_BITS, read_numbers


def read_label_map(path: Path) -> NDArray[np.int64]:
    """Reads a label map as int64 [H, W]: the numbers that a file of 8, 16 or 32 bits or a palette holds.

    Raises ImageError where the file is missing or broken, or holds colours or fractions.
    """
    labels = read_numbers(path, "a label map")
    return labels.astype(np.int64)


def read_binary_mask(path: Path) -> Mask:
    """Reads a mask as bool [H, W]; white is the object: 255 (or 65535, or 1) on 0.

    Greys, as in a JPEG or at a smoothed edge, are white from half of full scale on.

    Raises ImageError as `read_label_map` does, and InputError for what looks like a label map.
    """
    values = read_numbers(path, "a black and white mask")
    highest = int(values.max())
    full_scale = SIXTEEN_BITS if values.dtype == np.uint16 else 255
    if 1 < highest < full_scale // 2:
        raise InputError(
            f"{path}: expected a black and white mask, found numbers up to {highest}; "
            f"if it is a label map, describe its set with kind label_maps"
        )
    mask: Mask = values > (0 if highest <= 1 else full_scale // 2)
    return mask
