"""Inputs and outputs of a graph: names, dtypes, shapes."""

from __future__ import annotations

from dataclasses import dataclass

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


def bundle_contract(image_size: int, channels: int = 256) -> dict[str, GraphSpec]:
    """Returns the three graphs of docs/bundle.md for a square input of S = `image_size` pixels.

    `channels`: those of the image embeddings.
    """
    embedding = (1, channels, image_size // 16, image_size // 16)
    low_res = image_size // 4

    def floats(name: str, *shape: Dimension) -> TensorSpec:
        return TensorSpec(name, "float32", shape)

    embeddings = floats("image_embeddings", *embedding)
    encoder = GraphSpec("image_encoder", (floats("image", 1, 3, image_size, image_size),), (embeddings,))
    gle = GraphSpec("gle", (embeddings,), (floats("image_embeddings_enhanced", *embedding),))
    decoder = GraphSpec(
        "mask_decoder",
        (
            embeddings,
            floats("point_coords", "num_prompts", "num_points", 2),
            TensorSpec("point_labels", "int32", ("num_prompts", "num_points")),
            floats("mask_input", "num_prompts", 1, low_res, low_res),
            floats("has_mask_input", "num_prompts"),
        ),
        (
            floats("low_res_masks", "num_prompts", 4, low_res, low_res),
            floats("iou_predictions", "num_prompts", 4),
        ),
    )
    return {graph.name: graph for graph in (encoder, gle, decoder)}


def robust_contract(image_size: int, early_channels: int) -> dict[str, GraphSpec]:
    """Returns the three graphs of a RobustSAM whose image encoder is `early_channels` wide."""
    side, low_res = image_size // 16, image_size // 4
    sam = bundle_contract(image_size)
    embeddings = sam["image_encoder"].outputs[0]
    early = TensorSpec("early_features", "float32", (1, early_channels, side, side))
    robust = TensorSpec("robust_features", "float32", (1, 32, low_res, low_res))
    encoder = GraphSpec("image_encoder", sam["image_encoder"].inputs, (embeddings, early))
    restorer = GraphSpec("restorer", (embeddings, early), (robust,))
    prompts, outputs = sam["mask_decoder"].inputs[1:], sam["mask_decoder"].outputs
    decoder = GraphSpec("mask_decoder", (embeddings, robust, *prompts), outputs)
    return {graph.name: graph for graph in (encoder, restorer, decoder)}
