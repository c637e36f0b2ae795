"""SAM's three parts, built from their configuration: image encoder, prompt encoder and mask decoder."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from glesam.config import (
    EMBEDDING_CHANNELS,
    EMBEDDING_STRIDE,
    EncoderConfig,
    HieraEncoderConfig,
    HighResDecoderConfig,
    LiteEncoderConfig,
    PromptMapDecoderConfig,
    SamConfig,
    TwoWayDecoderConfig,
)
from glesam.nano.decoder import NanoDecoder
from glesam.nano.encoder import NanoEncoder
from glesam.nano.prompt_maps import PromptMaps
from glesam.sam_modules import ImageEncoderViT, PromptEncoder
from glesam.two_way import TwoWayDecoder


def build_image_encoder(config: EncoderConfig, image_size: int) -> nn.Module:
    """Image float32 [B, 3, S, S], normalized -> image embeddings [B, 256, S/16, S/16].

    SAM 2's returns its high-resolution features as well (`glesam.sam2.HieraEncoder`).
    """
    if isinstance(config, LiteEncoderConfig):
        return NanoEncoder(config)
    if isinstance(config, HieraEncoderConfig):
        from glesam.sam2 import HieraEncoder  # imports transformers, which others do not need

        return HieraEncoder(config)
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
    if isinstance(config.decoder, PromptMapDecoderConfig):
        return PromptMaps()
    side = config.image_size // EMBEDDING_STRIDE
    return PromptEncoder(
        embed_dim=EMBEDDING_CHANNELS,
        image_embedding_size=(side, side),
        input_image_size=(config.image_size, config.image_size),
        mask_in_chans=16,
    )


def build_mask_decoder(config: SamConfig) -> TwoWayDecoder | NanoDecoder:
    """The network that `config.decoder` describes, a `glesam.decoding.Decoder`."""
    if isinstance(config.decoder, PromptMapDecoderConfig):
        return NanoDecoder(config.decoder)
    if isinstance(config.decoder, HighResDecoderConfig) and isinstance(config.encoder, HieraEncoderConfig):
        from glesam.sam2 import HighResDecoder

        return HighResDecoder(config.decoder, config.encoder.no_mem_embed)
    denoise = isinstance(config.decoder, TwoWayDecoderConfig) and config.decoder.denoise
    return TwoWayDecoder(config.decoder.mlp_dim, denoise)
