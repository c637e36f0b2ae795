"""The sizes of its dynamic dimensions that an engine is built for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ...bundle.spec import GraphSpec

Range = tuple[int, int, int]
"""Least, usual and largest size; an engine is tuned for the usual one and refuses what lies outside."""


@dataclass(frozen=True)
class Profile:
    """Tuned for one object by a box, which is two points; 64 prompts are what --auto asks at once."""

    num_prompts: Range = (1, 1, 64)
    num_points: Range = (1, 2, 16)

    def sizes(self, spec: GraphSpec) -> dict[str, list[int]]:
        """Of each dynamic dimension of `spec`: none for a static graph."""
        dynamic = {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)}
        return {name: list(sizes) for name, sizes in asdict(self).items() if name in dynamic}

    def shapes(self, spec: GraphSpec) -> dict[str, list[list[int]]]:
        """Least, usual and largest shape of each input of `spec` that has a dynamic dimension."""
        sizes = self.sizes(spec)
        return {
            tensor.name: [[_size(size, sizes, i) for size in tensor.shape] for i in range(3)]
            for tensor in spec.inputs
            if any(isinstance(size, str) for size in tensor.shape)
        }


def _size(size: int | str, sizes: Mapping[str, list[int]], position: int) -> int:
    return sizes[size][position] if isinstance(size, str) else size
