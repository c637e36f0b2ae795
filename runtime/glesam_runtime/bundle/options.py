"""Tensors of the graph gle that a bundle may have or not; docs/bundle.md describes them.

bundle.json says which of them a bundle has, by listing them. A reader that does not know one refuses the
bundle, since the listed tensors are not those that it expects.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .spec import GraphSpec, TensorSpec

DEGRADATION_LEVEL = "degradation_level"
"""Output [1] of an adaptive GLE: 0 for a clean picture, 1 to 3 for LQ-1 to LQ-3."""


def with_options(spec: GraphSpec, names: Collection[str]) -> GraphSpec:
    """Returns a graph of the contract with its optional tensors among `names`; other names do not count."""
    if spec.name != "gle":
        return spec
    level = TensorSpec(DEGRADATION_LEVEL, "float32", (1,))
    outputs = tuple(tensor for tensor in (level,) if tensor.name in names)
    return replace(spec, outputs=(*spec.outputs, *outputs))
