"""Prompts to masks: SAM's prompt embeddings for N prompts at once, and the interface of mask decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from glesam_runtime.errors import InputError
from glesam_runtime.prompts import PADDING

MaskPredictor = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""mask_input, has_mask_input -> low_res_masks, iou_predictions; shapes as in `decode`."""


@dataclass(frozen=True)
class ImageFeatures:
    """What a mask decoder knows of B images.

    Attributes:
        image_embeddings: [B, 256, S/16, S/16], which GLE enhances.
        high_res: SAM 2's finer features, [B, 32, S/4, S/4] and [B, 64, S/8, S/8], which pass by GLE; SAM has
            none.
    """

    image_embeddings: Tensor
    high_res: tuple[Tensor, ...] = ()


class Decoder(Protocol):
    """What every mask decoder offers, whatever network it is."""

    @property
    def num_high_res(self) -> int:
        """Number of high-resolution features that it reads: 2 for SAM 2's decoder, else 0."""
        ...

    def prepare(
        self, prompt_encoder: nn.Module, features: ImageFeatures, point_coords: Tensor, point_labels: Tensor
    ) -> MaskPredictor:
        """Computes what depends neither on mask inputs nor on refinements.

        Args:
            prompt_encoder: the one that this decoder was built with.
            features: those of B images.
            point_coords, point_labels: N prompts as in `decode`, N a multiple of B, image by image.

        Returns:
            The function from mask inputs to masks; it may be called several times.
        """
        ...


def decode(
    prompt_encoder: nn.Module,
    mask_decoder: Decoder,
    image_embeddings: Tensor | ImageFeatures,
    point_coords: Tensor,
    point_labels: Tensor,
    mask_input: Tensor,
    has_mask_input: Tensor,
    refinements: int = 0,
) -> tuple[Tensor, Tensor]:
    """Image features and N prompts -> low_res_masks [N, 4, S/4, S/4], iou_predictions [N, 4].

    The arguments are the decoder graph's (docs/bundle.md), but for `image_embeddings`, which may be those of
    B images, [B, 256, S/16, S/16], or features that hold them: N is a multiple of B, prompts image by image.
    S follows from the embedding's size. SAM repeats one image's embedding for every prompt; here it
    broadcasts, so that no data-dependent repeat enters the graph.

    `refinements`: how often mask 0 is predicted again with itself as mask input. Masks 1 to 3 stay those of
    the first prediction: mask 0 has decided between the meanings that they keep apart.

    Raises:
        InputError: the high-resolution features are not those that the decoder reads.
    """
    features = ImageFeatures(image_embeddings) if isinstance(image_embeddings, Tensor) else image_embeddings
    if len(features.high_res) != mask_decoder.num_high_res:
        raise InputError(
            f"found {len(features.high_res)} high-resolution features, expected {mask_decoder.num_high_res}; "
            "SAM 2's decoder needs both of GleSam.encode_features, the others take none"
        )
    predict = mask_decoder.prepare(prompt_encoder, features, point_coords, point_labels)
    masks, ious = predict(mask_input, has_mask_input)
    for _ in range(refinements):
        refined, refined_ious = predict(masks[:, :1], torch.ones_like(has_mask_input))
        masks = torch.cat([refined[:, :1], masks[:, 1:]], dim=1)
        ious = torch.cat([refined_ious[:, :1], ious[:, 1:]], dim=1)
    return masks, ious


def embed_points(
    prompt_encoder: nn.Module, point_coords: Tensor, point_labels: Tensor, image_size: int
) -> Tensor:
    """Sparse prompt embeddings [N, P, 256], as `PromptEncoder._embed_points` computes them.

    Labels select by arithmetic instead of by indexed assignment, and coordinates are scaled as a
    whole instead of in place: both would become scatters in a graph.

    Args:
        point_coords: float [N, P, 2], (x, y) in pixels of the S x S input.
        point_labels: int [N, P]; -1 padding, 0 background, 1 foreground, 2 and 3 box corners.
        image_size: S, px.
    """
    encoder: Any = prompt_encoder
    position = encoder.pe_layer._pe_encoding((point_coords + 0.5) / image_size)
    labels = point_labels.unsqueeze(-1)
    embedding = torch.where(labels == PADDING, encoder.not_a_point_embed.weight, position)
    for label, learned in enumerate(encoder.point_embeddings):
        embedding = embedding + (labels == label).to(embedding.dtype) * learned.weight
    return embedding


def embed_masks(prompt_encoder: nn.Module, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
    """Dense prompt embeddings [N, 256, S/16, S/16].

    Args:
        mask_input: float [N, 1, S/4, S/4], logits.
        has_mask_input: float [N]; 1 where the mask counts, 0 where SAM's "no mask" stands instead.
    """
    encoder: Any = prompt_encoder
    has_mask = has_mask_input.reshape(-1, 1, 1, 1)
    no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    dense: Tensor = has_mask * encoder.mask_downscaling(mask_input) + (1 - has_mask) * no_mask
    return dense


def per_prompt(x: Tensor, prompts: int) -> Tensor:
    """[B, ...] -> [N, ...], prompts image by image; a single image broadcasts and stays as it is."""
    if x.shape[0] == 1:
        return x
    repeated = x.repeat_interleave(prompts // x.shape[0], dim=0)
    # repeat_interleave forgets channels_last, in which convolutions train faster
    return repeated.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else repeated
