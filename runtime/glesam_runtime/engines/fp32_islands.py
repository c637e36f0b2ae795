"""Parts of a 16-bit graph that stay in fp32: their names in bundle.json, and those of their nodes.

glesam_calib.graph.precision keeps these parts in fp32, and the TensorRT backend accepts their layers in fp32.
Every other island is named after an operator, such as Softmax, and holds no convolution or matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

COORDINATES = "coordinates"
"""Name of the island of prompt coordinates, whose products sum over (x, y)."""
DEGRADATION_LEVEL = "degradation level"
"""Name of the island of an adaptive GLE's level and the timestep that follows from it."""
EARLY_LAYERS = "early layers"
"""Name of the island of the first layers of nano's encoder."""
FOURIER = "fourier"
"""Name of the island of RobustSAM's spectrum, from features and back."""
STABILITY = "stability"
"""Name of the island that decides whether SAM 2's mask 0 is stable."""

NODES: Mapping[str, tuple[str, ...]] = {
    DEGRADATION_LEVEL: ("*.level_head/*", "*.level_head.*"),
    EARLY_LAYERS: (
        "*.backbone/Clip",
        "*.backbone.stem/*",
        "*.backbone.blocks.[01]/*",
        "*.backbone.blocks.[01].*",
    ),
    FOURIER: ("*.fourier/*", "*.fourier.*"),
    STABILITY: ("stability/*",),
}
"""Patterns of the nodes' names, which are those of the modules; an island without them is known otherwise."""


def is_in_island(node: str, island: str) -> bool:
    """Returns whether the node of this name belongs to the island of this name."""
    return any(fnmatchcase(node, pattern) for pattern in NODES.get(island, ()))
