"""Tensors of the graph gle that a bundle may have or not; docs/bundle.md describes them.

bundle.json says which of them a bundle has, by listing them. A reader that does not know one refuses the
bundle, since the listed tensors are not those that it expects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from .spec import GraphSpec, TensorSpec

DEGRADATION_LEVEL = "degradation_level"
"""Output [1] of an adaptive GLE: 0 for a clean picture, 1 to 3 for LQ-1 to LQ-3."""


AUXILIARY_IMAGE = "auxiliary_image"
"""Input [1,1,S,S] of a GLE with a second sensor: values in [0, 1], 0 where nothing is known."""


def with_options(spec: GraphSpec, names: Collection[str]) -> GraphSpec:
    """Returns a graph of the contract with its optional tensors among `names`; other names do not count."""
    if spec.name != "gle":
        return spec
    side = spec.inputs[0].shape[-1]
    assert isinstance(side, int)
    image = TensorSpec(AUXILIARY_IMAGE, "float32", (1, 1, 16 * side, 16 * side))
    level = TensorSpec(DEGRADATION_LEVEL, "float32", (1,))
    return GraphSpec(
        spec.name,
        (*spec.inputs, *([image] if AUXILIARY_IMAGE in names else [])),
        (*spec.outputs, *([level] if DEGRADATION_LEVEL in names else [])),
    )


def takes_auxiliary(spec: GraphSpec) -> bool:
    """Returns whether a graph gle has the auxiliary image as an input."""
    return any(tensor.name == AUXILIARY_IMAGE for tensor in spec.inputs)


def with_zeros(spec: GraphSpec, feeds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the feeds of a graph, with an auxiliary image of zeros where that input is left out."""
    if AUXILIARY_IMAGE in feeds or not takes_auxiliary(spec):
        return feeds
    shape = next(tensor.shape for tensor in spec.inputs if tensor.name == AUXILIARY_IMAGE)
    return {**feeds, AUXILIARY_IMAGE: np.zeros([int(size) for size in shape], np.float32)}
