"""The three graphs of a bundle as modules: the arguments of `forward` are the graph's input names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE, HIGH_RES_CHANNELS
from glesam.model import GleSam
from glesam.nano.decoder import NanoDecoder
from glesam.sam2 import HighResDecoder
from glesam.two_way import TwoWayDecoder
from glesam_export.folds import FoldReport, fold_all
from glesam_export.rewrites.chunked_attention import chunked_self_attention
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.prompt_map_decoder import PromptMapDecoderGraph
from glesam_export.rewrites.static_decoder import StaticDecoder, StaticHighResDecoder
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_export.rewrites.static_gle import StaticGle
from glesam_runtime.bundle.options import AUXILIARY_IMAGE, DEGRADATION_LEVEL

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
    """Normalized image float32 [1, 3, S, S] -> image embeddings [1, 256, S/16, S/16].

    SAM 2's has the high-resolution features as further outputs.
    """

    def __init__(self, image_encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = for_export(image_encoder)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        embeddings: Tensor | tuple[Tensor, ...] = self.image_encoder(image)
        return embeddings


class GleGraph(nn.Module):
    """Image embeddings [1, 256, S/16, S/16] -> enhanced image embeddings of the same shape.

    An adaptive GLE has the picture's degradation level [1] as a second output, and one with an auxiliary
    encoder the auxiliary image [1, 1, S, S] as a second input.
    """

    def __init__(self, gle: StaticGle) -> None:
        super().__init__()
        self.gle = gle

    def forward(
        self, image_embeddings: Tensor, auxiliary_image: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        enhanced: Tensor | tuple[Tensor, Tensor] = self.gle(image_embeddings, auxiliary_image)
        return enhanced


DECODER_GRAPHS: Mapping[type[nn.Module], Callable[[nn.Module, nn.Module, int, int], nn.Module]] = {
    TwoWayDecoder: StaticDecoder,
    HighResDecoder: StaticHighResDecoder,
    NanoDecoder: PromptMapDecoderGraph,
}
"""The exportable form of each mask decoder, made of prompt encoder, mask decoder, side and refinements."""


def decoder_graph(model: GleSam, side: int) -> nn.Module:
    """Prompts to masks, for image embeddings of `side` x `side` positions."""
    build = DECODER_GRAPHS[type(model.mask_decoder)]
    return build(model.prompt_encoder, model.mask_decoder, side, model.config.sam.refinements)


def high_res_examples(model: GleSam, side: int) -> dict[str, Tensor]:
    """SAM 2's high-resolution features by name; none for another SAM."""
    if not isinstance(model.mask_decoder, HighResDecoder):
        return {}
    fine, middle = HIGH_RES_CHANNELS
    return {
        "high_res_s0": torch.zeros(1, fine, 4 * side, 4 * side),
        "high_res_s1": torch.zeros(1, middle, 2 * side, 2 * side),
    }


def gle_outputs(model: GleSam) -> tuple[str, ...]:
    """Names of what gle.onnx computes."""
    level = () if model.gle.level_head is None else (DEGRADATION_LEVEL,)
    return ("image_embeddings_enhanced", *level)


def auxiliary_example(model: GleSam) -> dict[str, Tensor]:
    """The auxiliary image by name; none for a GLE without that input."""
    size = model.config.sam.image_size
    return {} if model.gle.auxiliary is None else {AUXILIARY_IMAGE: torch.zeros(1, 1, size, size)}


def graphs(model: GleSam) -> Iterator[Graph]:
    """The graphs of a bundle, in the order they run; one at a time, since each holds its own folds."""
    size = model.config.sam.image_size
    side = size // EMBEDDING_STRIDE
    image_embeddings = torch.zeros(1, EMBEDDING_CHANNELS, side, side)
    high_res = high_res_examples(model, side)
    yield Graph(
        "image_encoder",
        ImageEncoderGraph(static_encoder(model.image_encoder, side)).eval(),
        {"image": torch.zeros(1, 3, size, size)},
        ("image_embeddings", *high_res),
        {},
    )
    folded, folds = fold_all(model.gle)
    yield Graph(
        "gle",
        GleGraph(chunked_self_attention(folded)).eval(),
        {"image_embeddings": image_embeddings, **auxiliary_example(model)},
        gle_outputs(model),
        {},
        folds,
    )
    del folded
    prompts, dynamic_axes = prompt_examples(side)
    yield Graph(
        "mask_decoder",
        decoder_graph(model, side).eval(),
        {"image_embeddings": image_embeddings, **high_res, **prompts},
        ("low_res_masks", "iou_predictions"),
        dynamic_axes,
    )


def prompt_examples(side: int) -> tuple[dict[str, Tensor], dict[str, dict[int, str]]]:
    """A mask decoder's inputs beside the image's, and their dynamic axes."""
    n, p = EXAMPLE_PROMPTS, EXAMPLE_POINTS
    examples = {
        "point_coords": torch.zeros(n, p, 2),
        "point_labels": torch.zeros(n, p, dtype=torch.int32),
        "mask_input": torch.zeros(n, 1, 4 * side, 4 * side),
        "has_mask_input": torch.zeros(n),
    }
    axes = {name: {0: "num_prompts"} for name in examples}
    axes["point_coords"][1] = axes["point_labels"][1] = "num_points"
    return examples, axes
