"""Inputs and outputs of a graph: names, dtypes, shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dimension = int | str
"""A fixed size, or the name of a dynamic one."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; `dtype` is numpy's name, such as "float32"."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class GraphSpec:
    """The inputs and outputs of one graph, in the graph's own order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


Family = Literal["sam", "sam2", "robustsam"]
"""Kinds of models, which differ in the tensors between their graphs: see docs/bundle.md."""
EMBEDDING_CHANNELS = 256
"""Channels of SAM's image embedding."""
HIGH_RES = ("high_res_s0", "high_res_s1")
"""Names of SAM 2's finer features, at strides 4 and 8, which pass by GLE from the encoder to the decoder."""
ROBUST_CHANNELS = EMBEDDING_CHANNELS + 32 * 4 * 4
"""Channels that RobustSAM's decoder reads: the embedding, and 32 channels at stride 4 in blocks of 4 x 4."""


def bundle_contract(
    image_size: int, family: Family = "sam", encoder_channels: int = 0
) -> dict[str, GraphSpec]:
    """Returns the three graphs of docs/bundle.md for a square input of S = `image_size` pixels.

    encoder_channels: width of RobustSAM's image encoder, whose early features lie behind the embedding; 0 for
    the other families.
    """
    side, low_res = image_size // 16, image_size // 4

    def embeddings(name: str, channels: int) -> TensorSpec:
        return _floats(name, 1, channels, side, side)

    encoded = embeddings("image_embeddings", EMBEDDING_CHANNELS + encoder_channels)
    restored = ROBUST_CHANNELS if family == "robustsam" else EMBEDDING_CHANNELS
    high_res = (
        (_floats(HIGH_RES[0], 1, 32, low_res, low_res), _floats(HIGH_RES[1], 1, 64, 2 * side, 2 * side))
        if family == "sam2"
        else ()
    )
    image = _floats("image", 1, 3, image_size, image_size)
    encoder = GraphSpec("image_encoder", (image,), (encoded, *high_res))
    gle = GraphSpec("gle", (encoded,), (embeddings("image_embeddings_enhanced", restored),))
    decoder = GraphSpec(
        "mask_decoder",
        (embeddings("image_embeddings", restored), *high_res, *_prompts(low_res)),
        (
            _floats("low_res_masks", "num_prompts", 4, low_res, low_res),
            _floats("iou_predictions", "num_prompts", 4),
        ),
    )
    return {graph.name: graph for graph in (encoder, gle, decoder)}


def _floats(name: str, *shape: Dimension) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _prompts(low_res: int) -> tuple[TensorSpec, ...]:
    """Returns the decoder's inputs that say what to segment; masks are `low_res` pixels wide."""
    return (
        _floats("point_coords", "num_prompts", "num_points", 2),
        TensorSpec("point_labels", "int32", ("num_prompts", "num_points")),
        _floats("mask_input", "num_prompts", 1, low_res, low_res),
        _floats("has_mask_input", "num_prompts"),
    )
