"""Small networks of both families, SAM and SAM 2, and how much of a picture they see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from glesam.config import (
    GleSamConfig,
    HieraEncoderConfig,
    HighResDecoderConfig,
    ModelConfig,
    RobustDecoderConfig,
    RobustSamConfig,
    SamConfig,
    TwoWayDecoderConfig,
    VitEncoderConfig,
    nano,
    tiny,
    tiny_sam2,
)

Family = Literal["vit", "hiera"]


@dataclass(frozen=True)
class Size:
    """The networks of a table.

    Attributes:
        vit, hiera: SAM and SAM 2, both with the same GLE.
        batch: pictures of a training step.
        tile: side of the images that the restorer takes [px]; it is trained on views of twice that.
        width: channels of the restorer.
    """

    vit: GleSamConfig
    hiera: GleSamConfig
    batch: int
    tile: int
    width: int

    def config(self, family: Family) -> GleSamConfig:
        return self.vit if family == "vit" else self.hiera


def small() -> Size:
    """Encoders of eight blocks and about 5 million parameters at 256 px, with nano's GLE."""
    vit = VitEncoderConfig(192, 8, 3, global_attn_indexes=(1, 3, 5, 7), window_size=8)
    hiera = HieraEncoderConfig(48, 1, (1, 2, 4, 1), global_attn_indexes=(4, 6), window_sizes=(8, 4, 8, 4))
    sam = SamConfig("small_vit", 256, vit, TwoWayDecoderConfig(512))
    sam2 = SamConfig("small_hiera", 256, hiera, HighResDecoderConfig(512))
    gle = nano().gle
    return Size(
        GleSamConfig("small-sam", sam, gle),
        GleSamConfig("small-sam2", sam2, gle),
        batch=4,
        tile=256,
        width=64,
    )


def least() -> Size:
    """Networks of the tests, at 64 px, which learn nothing and run in seconds."""
    gle = replace(tiny().gle, lora_rank=0, channel_expansion=False)
    return Size(replace(tiny(), gle=gle), replace(tiny_sam2(), gle=gle), batch=2, tile=64, width=8)


SIZES = {"small": small, "tiny": least}


def adaptive(config: GleSamConfig) -> GleSamConfig:
    """The same model, whose GLE follows the degradation level."""
    return replace(config, gle=replace(config.gle, adaptive=True))


def denoising(config: GleSamConfig) -> GleSamConfig:
    """The same model, whose decoder denoises its image tokens by five DDIM steps."""
    assert isinstance(config.sam.decoder, TwoWayDecoderConfig)
    return replace(config, sam=replace(config.sam, decoder=replace(config.sam.decoder, denoise=True)))


def robust(config: GleSamConfig) -> RobustSamConfig:
    """RobustSAM on the same image encoder."""
    assert isinstance(config.sam.decoder, TwoWayDecoderConfig)
    decoder = RobustDecoderConfig(config.sam.decoder.mlp_dim)
    return RobustSamConfig(f"robust-{config.name}", replace(config.sam, decoder=decoder))


def encoder_title(config: ModelConfig) -> str:
    """The image encoder in the words of a table: "ViT, 8 blocks, 256 px"."""
    encoder = config.sam.encoder
    assert isinstance(encoder, VitEncoderConfig | HieraEncoderConfig)
    kind, blocks = (
        ("ViT", encoder.depth) if isinstance(encoder, VitEncoderConfig) else ("Hiera", sum(encoder.stages))
    )
    return f"{kind}, {blocks} blocks, {config.sam.image_size} px"
