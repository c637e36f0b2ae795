"""The three graphs of a RobustSAM: image encoder, restorer (once per image), mask decoder (N prompts)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE
from glesam.restorers.robust_features import MASK_CHANNELS
from glesam.restorers.robust_sam import RobustSam, encode_with_early_features
from glesam_export.graphs import EXAMPLE_POINTS, EXAMPLE_PROMPTS, Graph
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_export.rewrites.static_robust import StaticRestorer, StaticRobustDecoder


class RobustEncoderGraph(nn.Module):
    """Normalized image [1, 3, S, S] -> image embeddings and early features, [1, C, S/16, S/16]."""

    def __init__(self, image_encoder: nn.Module, block: int) -> None:
        super().__init__()
        self.image_encoder = for_export(image_encoder)
        self.block = block

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return encode_with_early_features(self.image_encoder, image, self.block)


def robust_graphs(model: RobustSam) -> Iterator[Graph]:
    """The graphs in the order they run, one at a time; the model's tensors are shared."""
    size = model.config.image_size
    side = size // EMBEDDING_STRIDE
    encoder: Any = model.config.encoder
    image_embeddings = torch.zeros(1, EMBEDDING_CHANNELS, side, side)
    yield Graph(
        "image_encoder",
        RobustEncoderGraph(static_encoder(model.image_encoder, side), model.early_block).eval(),
        {"image": torch.zeros(1, 3, size, size)},
        ("image_embeddings", "early_features"),
        {},
    )
    yield Graph(
        "restorer",
        StaticRestorer(model.mask_decoder, side).eval(),
        {
            "image_embeddings": image_embeddings,
            "early_features": torch.zeros(1, encoder.embed_dim, side, side),
        },
        ("robust_features",),
        {},
    )
    n, p = EXAMPLE_PROMPTS, EXAMPLE_POINTS
    yield Graph(
        "mask_decoder",
        StaticRobustDecoder(model.prompt_encoder, model.mask_decoder, side).eval(),
        {
            "image_embeddings": image_embeddings,
            "robust_features": torch.zeros(1, MASK_CHANNELS, 4 * side, 4 * side),
            "point_coords": torch.zeros(n, p, 2),
            "point_labels": torch.zeros(n, p, dtype=torch.int32),
            "mask_input": torch.zeros(n, 1, 4 * side, 4 * side),
            "has_mask_input": torch.zeros(n),
        },
        ("low_res_masks", "iou_predictions"),
        {
            "point_coords": {0: "num_prompts", 1: "num_points"},
            "point_labels": {0: "num_prompts", 1: "num_points"},
            "mask_input": {0: "num_prompts"},
            "has_mask_input": {0: "num_prompts"},
        },
    )
