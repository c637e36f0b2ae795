"""Reads golden vectors: a picture, prompts and PyTorch's results, in one .npz file (docs/bundle.md)."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np

from ..bundle.options import AUXILIARY_IMAGE, DEGRADATION_LEVEL
from ..bundle.reader import Bundle
from ..bundle.spec import HIGH_RES
from ..engines.base import Array, Tensors
from ..errors import BundleError, first_line

ARRAYS: Mapping[str, tuple[type[np.generic], int]] = {
    "image": (np.uint8, 3),
    "point_coords": (np.float32, 3),
    "point_labels": (np.int32, 2),
    "image_embeddings": (np.float32, 4),
    "image_embeddings_enhanced": (np.float32, 4),
    "low_res_masks": (np.float32, 4),
    "iou_predictions": (np.float32, 2),
}
"""Type and rank of the arrays in every golden file (docs/bundle.md)."""
SAM2_ARRAYS: Mapping[str, tuple[type[np.generic], int]] = {
    **ARRAYS,
    **{name: (np.float32, 4) for name in HIGH_RES},
}
"""The same for SAM 2."""
OPTIONAL_ARRAYS: Mapping[str, tuple[type[np.generic], int]] = {
    DEGRADATION_LEVEL: (np.float32, 1),
    AUXILIARY_IMAGE: (np.float32, 4),
}
"""The same of those that only bundles with these optional tensors need."""
MOST_BYTES = 2**28
"""Largest golden file and sum of its arrays: 256 MiB, of which the largest model needs 45."""


def read_golden(bundle: Bundle, name: str) -> Tensors:
    """Returns the arrays of the golden file `name`, from the bytes that its hash was checked on.

    Raises BundleError where it cannot be read, is larger than MOST_BYTES, has changed since the bundle was
    opened, or is not what docs/bundle.md says.
    """
    arrays = _arrays(bundle)
    try:
        with ZipFile(io.BytesIO(_bytes(bundle, name))) as archive:
            present = {info.filename: info.file_size for info in archive.infolist()}
            wanted = [key for key in arrays if f"{key}.npy" in present]
            if sum(present[f"{key}.npy"] for key in wanted) > MOST_BYTES:
                raise ValueError(f"its arrays take more than {MOST_BYTES // 2**20} MiB")
            golden = {key: _array(archive, f"{key}.npy", present[f"{key}.npy"]) for key in wanted}
    # RuntimeError: an encrypted archive; MemoryError: numpy's header may name any shape.
    except (
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
        zlib.error,
        BadZipFile,
    ) as error:
        raise BundleError(f"{name}: cannot be read ({first_line(error)}); export the bundle again") from error
    wrong = [key for key in arrays if key not in golden or not _is_sound(key, golden[key], *arrays[key])]
    if wrong or golden["point_coords"].shape != (*golden["point_labels"].shape, 2):
        raise BundleError(
            f"{name}: {wrong[0] if wrong else 'point_coords'} is missing or not what docs/bundle.md says; "
            "export the bundle again"
        )
    return golden


def _arrays(bundle: Bundle) -> dict[str, tuple[type[np.generic], int]]:
    """Returns type and rank of the arrays that a golden file of this bundle has."""
    gle = bundle.manifest.graphs["gle"].spec
    names = [tensor.name for tensor in (*gle.inputs, *gle.outputs)]
    optional = {name: OPTIONAL_ARRAYS[name] for name in names if name in OPTIONAL_ARRAYS}
    return {**(SAM2_ARRAYS if bundle.manifest.family == "sam2" else ARRAYS), **optional}


def _bytes(bundle: Bundle, name: str) -> bytes:
    if bundle.manifest.files[name].size > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    return bundle.file_content(name)


def _array(archive: ZipFile, name: str, size: int) -> Array:
    """Returns one array, whose header must name no more bytes than the archive says that it has."""
    with archive.open(name) as file:
        _check_header(file, size)
    with archive.open(name) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_header(file: IO[bytes], size: int) -> None:
    """Raises ValueError where an array is larger than its file: numpy would reserve memory for it first."""
    major, _ = np.lib.format.read_magic(file)
    if major == 1:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("a pickle, which may hold code")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize > size:
        raise ValueError("an array of another size than its file")


def _is_sound(key: str, array: Array, kind: type[np.generic], rank: int) -> bool:
    """Returns whether an array has the type and rank of docs/bundle.md, is not empty, and has no NaN."""
    if array.dtype != kind or array.ndim != rank or not array.size:
        return False
    return array.shape[2] == 3 if key == "image" else bool(np.isfinite(array).all())
