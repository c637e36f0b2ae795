"""SAM in three parts, built from its configuration, and its mask decoder for N prompts at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import (
    EMBEDDING_CHANNELS,
    EMBEDDING_STRIDE,
    NUM_MASKS,
    ConvEncoderConfig,
    EncoderConfig,
    SamConfig,
)
from glesam.nano.decoder import GuidedDecoder, SeenPicture
from glesam.nano.drawn_prompts import box_limit, draw_prompts
from glesam.nano.encoder import ConvEncoder
from glesam.nano.guide import SPOTS_PER_SIDE, per_prompt
from glesam.sam_modules import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

DEAD_BELOW = 1e-3
"""A layer's norm, as a share of the same layer's in head 0: no training leaves a head there that it uses."""


def build_image_encoder(config: EncoderConfig, image_size: int) -> nn.Module:
    """Image float32 [B, 3, S, S], normalized -> image embeddings [B, 256, S/16, S/16]."""
    if isinstance(config, ConvEncoderConfig):
        return ConvEncoder(config)
    encoder: nn.Module = ImageEncoderViT(
        img_size=image_size,
        patch_size=EMBEDDING_STRIDE,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=config.global_attn_indexes,
        window_size=config.window_size,
        out_chans=EMBEDDING_CHANNELS,
    )
    return encoder


def build_prompt_encoder(config: SamConfig) -> Any:  # noqa: ANN401 - segment-anything is untyped
    cells = config.image_size // EMBEDDING_STRIDE
    return PromptEncoder(
        embed_dim=EMBEDDING_CHANNELS,
        image_embedding_size=(cells, cells),
        input_image_size=(config.image_size, config.image_size),
        mask_in_chans=16,
    )


def build_mask_decoder(config: SamConfig) -> Any:  # noqa: ANN401 - segment-anything is untyped
    if config.guided:
        return GuidedDecoder(config.decoder_mlp_dim)
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=EMBEDDING_CHANNELS, num_heads=8, mlp_dim=config.decoder_mlp_dim
    )
    return MaskDecoder(
        transformer_dim=EMBEDDING_CHANNELS,
        transformer=transformer,
        num_multimask_outputs=NUM_MASKS - 1,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )


def dead_mask_heads(mask_decoder: nn.Module) -> tuple[int, ...]:
    """Which of the heads 1 to 3 say nothing: one of their layers is about 0.

    The authors trained their decoders with a single mask output; without a gradient, the weight decay
    that Adam couples to it has worn the other heads down.
    """
    decoder: Any = mask_decoder
    first, *others = [
        [float(layer.weight.detach().norm()) for layer in mlp.layers]
        for mlp in decoder.output_hypernetworks_mlps
    ]
    return tuple(
        head
        for head, norms in enumerate(others, 1)
        if any(norm < DEAD_BELOW * alive for norm, alive in zip(norms, first, strict=True))
    )


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
    embedding = torch.where(labels == -1, encoder.not_a_point_embed.weight, position)
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


def predict_masks(
    mask_decoder: nn.Module,
    source: Tensor,
    image_pe: Tensor,
    sparse: Tensor,
) -> tuple[Tensor, Tensor]:
    """All four masks of each prompt, as `MaskDecoder.predict_masks` computes them.

    Args:
        source: [N, 256, S/16, S/16], image and dense prompt embeddings.
        image_pe: [1, 256, S/16, S/16], the dense positional encoding.
        sparse: [N, P, 256].

    Returns:
        low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].
    """
    decoder: Any = mask_decoder
    learned = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
    n, channels, height, width = source.shape
    tokens, source = decoder.transformer(source, image_pe.expand_as(source), tokens)
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(n, channels, height, width))
    weights = torch.stack(
        [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    masks = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    return masks, decoder.iou_prediction_head(tokens[:, 0])


def decode(
    prompt_encoder: nn.Module,
    mask_decoder: nn.Module,
    image_embeddings: Tensor,
    point_coords: Tensor,
    point_labels: Tensor,
    mask_input: Tensor,
    has_mask_input: Tensor,
    refinements: int = 0,
) -> tuple[Tensor, Tensor]:
    """Image embeddings and N prompts -> low_res_masks [N, 4, S/4, S/4], iou_predictions [N, 4].

    The arguments are the decoder graph's (docs/bundle.md), but for `image_embeddings`, which may be of B
    pictures, [B, 256, S/16, S/16]: N is then a multiple of B, prompts picture by picture. S follows from
    the embedding's size. SAM repeats one picture's embedding for every prompt; here it broadcasts, so that
    no data-dependent repeat enters the graph.

    `refinements`: how often mask 0 is asked for again with itself as mask input. Masks 1 to 3 stay the
    first answer's: what they have to tell apart, mask 0 has decided.
    """
    encoder: Any = prompt_encoder
    height, width = image_embeddings.shape[-2:]
    positions = encoder.pe_layer((height, width)).unsqueeze(0)
    sparse = embed_points(encoder, point_coords, point_labels, height * EMBEDDING_STRIDE)
    if isinstance(mask_decoder, GuidedDecoder):
        picture = mask_decoder.look(image_embeddings, positions)
        answer = guided_answers(mask_decoder, picture, sparse, point_coords, point_labels)
    else:
        answer = sam_answers(encoder, mask_decoder, image_embeddings, positions, sparse)
    masks, ious = answer(mask_input, has_mask_input)
    for _ in range(refinements):
        again, iou = answer(masks[:, :1], torch.ones_like(has_mask_input))
        masks = torch.cat([again[:, :1], masks[:, 1:]], dim=1)
        ious = torch.cat([iou[:, :1], ious[:, 1:]], dim=1)
    return masks, ious


Answer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""mask_input, has_mask_input -> low_res_masks, iou_predictions, as of `decode`."""


def sam_answers(
    prompt_encoder: nn.Module,
    mask_decoder: nn.Module,
    image_embeddings: Tensor,
    image_pe: Tensor,
    sparse: Tensor,
) -> Answer:
    """SAM's decoder for these prompts."""

    def answer(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
        dense = embed_masks(prompt_encoder, mask_input, has_mask_input)
        source = per_prompt(image_embeddings, dense.shape[0]) + dense
        return predict_masks(mask_decoder, source, image_pe, sparse)

    return answer


def guided_answers(
    mask_decoder: GuidedDecoder,
    picture: SeenPicture,
    sparse: Tensor,
    point_coords: Tensor,
    point_labels: Tensor,
) -> Answer:
    """nano's decoder for these prompts; it has looked at the picture once, however often it answers."""
    height, width = picture.side
    spots = SPOTS_PER_SIDE * height, SPOTS_PER_SIDE * width
    drawn = draw_prompts(point_coords, point_labels, *spots)
    limit = box_limit(point_coords, point_labels, *spots)

    def answer(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
        has_mask = has_mask_input.reshape(-1, 1, 1, 1)
        marked = has_mask * mask_input + (1 - has_mask) * drawn
        found: tuple[Tensor, Tensor] = mask_decoder(picture, sparse, marked, limit)
        return found

    return answer
