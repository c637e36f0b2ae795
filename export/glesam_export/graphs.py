"""The three graphs of a bundle as modules: the names of `forward` are the graph's tensor names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE
from glesam.model import GleSam
from glesam.nano.decoder import GuidedDecoder
from glesam.sam import decode
from glesam.sam_modules import LayerNorm2d
from glesam_export.folds import FoldReport, fold_all
from glesam_export.rewrites.chunked_attention import chunked_self_attention
from glesam_export.rewrites.static_decoder import StaticDecoder
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_export.rewrites.static_gle import StaticGle, constant, shared_copy
from glesam_export.rewrites.static_upscaling import PictureUpscaling

EXAMPLE_PROMPTS, EXAMPLE_POINTS = 2, 3


@dataclass(frozen=True)
class Graph:
    """One graph to export: `example` by input name, `dynamic_axes` by input name and axis."""

    name: str
    module: nn.Module
    example: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic_axes: dict[str, dict[int, str]]
    folds: Sequence[FoldReport] = ()


class ImageEncoderGraph(nn.Module):
    def __init__(self, image_encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = for_export(image_encoder)

    def forward(self, image: Tensor) -> Tensor:
        embeddings: Tensor = self.image_encoder(image)
        return embeddings


class GleGraph(nn.Module):
    def __init__(self, gle: StaticGle) -> None:
        super().__init__()
        self.gle = gle

    def forward(self, image_embeddings: Tensor) -> Tensor:
        enhanced: Tensor = self.gle(image_embeddings)
        return enhanced


class GuidedDecoderGraph(nn.Module):
    """nano's decoder, which is written as it runs, but for its upscaling (`glesam.nano.decoder`)."""

    def __init__(
        self, prompt_encoder: nn.Module, mask_decoder: nn.Module, cells: int, refinements: int
    ) -> None:
        """cells: per side, S / 16."""
        super().__init__()
        encoder: Any = for_export(prompt_encoder)
        self.positions = constant(encoder.pe_layer((cells, cells)))
        encoder.pe_layer.forward = lambda size: self.positions
        self.prompt_encoder, self.mask_decoder = encoder, for_export(mask_decoder)
        self.mask_decoder.output_upscaling = PictureUpscaling(self.mask_decoder.output_upscaling)
        self.refinements = refinements

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        parts = self.prompt_encoder, self.mask_decoder
        prompt = image_embeddings, point_coords, point_labels
        return decode(*parts, *prompt, mask_input, has_mask_input, self.refinements)


class NativeLayerNorm2d(nn.Module):
    """SAM's LayerNorm2d as one LayerNormalization over the channels, last in memory.

    SAM writes it out with a square, which overflows in fp16 and which TensorRT does not recognize as a
    norm (a ViT-B loses 66 points of top-1 that way on Orin Nano).
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight = norm.get_parameter("weight")
        self.bias = norm.get_parameter("bias")
        self.eps: float = norm.eps  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        last = layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


def for_export(module: nn.Module) -> nn.Module:
    """A copy, sharing its tensors, with native LayerNorm2d and with batch norms folded into convolutions."""
    copy = shared_copy(module)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, NativeLayerNorm2d(child))
        if isinstance(parent, nn.Sequential):
            _fold_batch_norms(parent)
    return copy


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """In place. The exporter does it too, but not for a convolution that runs twice."""
    for i, (conv, norm) in enumerate(pairwise(layers)):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(conv.eval(), norm.eval()), nn.Identity()


def decoder_graph(model: GleSam, cells: int) -> nn.Module:
    """Prompts to masks, for pictures of `cells` x `cells`."""
    encoder, decoder, refinements = model.prompt_encoder, model.mask_decoder, model.config.sam.refinements
    if isinstance(decoder, GuidedDecoder):
        return GuidedDecoderGraph(encoder, decoder, cells, refinements)
    return StaticDecoder(for_export(encoder), for_export(decoder), cells, refinements)


def graphs(model: GleSam) -> Iterator[Graph]:
    """The graphs of a bundle, in the order they run; one at a time, since each holds its own folds."""
    size = model.config.sam.image_size
    cells = size // EMBEDDING_STRIDE
    image_embeddings = torch.zeros(1, EMBEDDING_CHANNELS, cells, cells)
    yield Graph(
        "image_encoder",
        ImageEncoderGraph(static_encoder(model.image_encoder, cells)).eval(),
        {"image": torch.zeros(1, 3, size, size)},
        ("image_embeddings",),
        {},
    )
    folded, folds = fold_all(model.gle)
    yield Graph(
        "gle",
        GleGraph(chunked_self_attention(folded)).eval(),
        {"image_embeddings": image_embeddings},
        ("image_embeddings_enhanced",),
        {},
        folds,
    )
    del folded
    n, p = EXAMPLE_PROMPTS, EXAMPLE_POINTS
    yield Graph(
        "mask_decoder",
        decoder_graph(model, cells).eval(),
        {
            "image_embeddings": image_embeddings,
            "point_coords": torch.zeros(n, p, 2),
            "point_labels": torch.zeros(n, p, dtype=torch.int32),
            "mask_input": torch.zeros(n, 1, 4 * cells, 4 * cells),
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
