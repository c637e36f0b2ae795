"""The three graphs of a RobustSAM: image encoder, restorer (once per image), mask decoder (N prompts)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE
from glesam.restorers.robust_sam import PACKED_CHANNELS, RobustSam, encode_with_early_features
from glesam_export.graphs import Graph, prompt_examples
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_export.rewrites.static_robust import StaticRestorer
from glesam_export.rewrites.static_robust_decoder import StaticRobustDecoder


class RobustEncoderGraph(nn.Module):
    """Normalized image [1, 3, S, S] -> image embeddings and early features, [1, 256 + C, S/16, S/16]."""

    def __init__(self, image_encoder: nn.Module, block: int) -> None:
        super().__init__()
        self.image_encoder = for_export(image_encoder)
        self.block = block

    def forward(self, image: Tensor) -> Tensor:
        return encode_with_early_features(self.image_encoder, image, self.block)


def robust_graphs(model: RobustSam) -> Iterator[Graph]:
    """The graphs in the order they run, one at a time; the model's tensors are shared.

    The restorer has the name of GLE's graph, in whose place it runs.
    """
    size = model.config.sam.image_size
    side = size // EMBEDDING_STRIDE
    yield Graph(
        "image_encoder",
        RobustEncoderGraph(static_encoder(model.image_encoder, side), model.early_block).eval(),
        {"image": torch.zeros(1, 3, size, size)},
        ("image_embeddings",),
        {},
    )
    yield Graph(
        "gle",
        StaticRestorer(model.mask_decoder, side).eval(),
        {"image_embeddings": torch.zeros(1, EMBEDDING_CHANNELS + model.encoder_width, side, side)},
        ("image_embeddings_enhanced",),
        {},
    )
    prompts, dynamic_axes = prompt_examples(side)
    yield Graph(
        "mask_decoder",
        StaticRobustDecoder(model.prompt_encoder, model.mask_decoder, side).eval(),
        {"image_embeddings": torch.zeros(1, PACKED_CHANNELS, side, side), **prompts},
        ("low_res_masks", "iou_predictions"),
        dynamic_axes,
    )
