"""The points that automatic masks start from: an even grid over the picture and over crops of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..preprocess import Doubles, Size
from .boxes import Box

# Memory of one prompt in SAM's decoder, in float32 maps of S/4 x S/4: at S = 1024 148 of them (37 MiB) in
# ONNX Runtime and 196 (49 MiB) in OpenVINO, in fp16 and fp32; in nano's decoder at most 82. The four masks
# are 4 of them. Candidates are resized to the picture one at a time, so the picture's size counts only once.
_MAPS_PER_PROMPT = 200
# SAM's points_per_batch. More prompts are hardly faster per prompt, and engines are built for no more.
_MAX_PROMPTS_PER_CALL = 64


@dataclass(frozen=True)
class Crop:
    """A part of the picture [px], right and bottom exclusive. Layer 0 is the whole picture."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def box(self) -> Box:
        return self.x0, self.y0, self.x1, self.y1


def point_grid(per_side: int) -> Doubles:
    """Returns [per_side**2, 2] points (x, y) in [0, 1], row by row, each in the middle of its square."""
    middles = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def crops_of(size: Size, layers: int, overlap_ratio: float) -> Iterator[Crop]:
    """Yields the whole picture (H, W), then 4 crops, 16, and so on, cut as SAM cuts them.

    A picture that is too small for so many crops has fewer.
    """
    height, width = size
    yield Crop(0, 0, width, height, 0)
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / per_side)
        columns = _spans(width, per_side, overlap)
        rows = _spans(height, per_side, overlap)
        for (x0, x1), (y0, y1) in product(columns, rows):
            yield Crop(x0, y0, x1, y1, layer)


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """Returns `count` equal spans of [0, length); neighbours share `overlap`, the last one may be cut."""
    span = -(-(overlap * (count - 1) + length) // count)
    starts = (index * (span - overlap) for index in range(count))
    return [(start, min(start + span, length)) for start in starts if start < length]


def prompts_per_call(image_size: int, memory_mib: int) -> int:
    """Returns how many prompts, 1 to 64, fit into `memory_mib` at an input of S = `image_size` pixels."""
    bytes_per_prompt = _MAPS_PER_PROMPT * (image_size // 4) ** 2 * 4
    return min(max(1, (memory_mib << 20) // bytes_per_prompt), _MAX_PROMPTS_PER_CALL)
