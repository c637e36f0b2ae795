"""DiffBIR v2 in its four parts: stage 1, the VAE's encoder, one denoising step, the VAE's decoder.

DiffBIR (Lin et al., ECCV 2024) removes the degradation with a stage-1 network and lets Stable Diffusion 2.1
paint the lost detail, guided by IRControlNet. The loop around the step is in `glesam.restorers.diffbir_loop`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from glesam.config import UNetConfig, sd21
from glesam.gle import LATENT_CHANNELS, build_base_unet
from glesam.reference import torch_engine
from glesam.restorers.diffbir_parts import EngineParts, diffbir_contract
from glesam.restorers.rrdb import RrdbConfig, RrdbNet

LATENT_SCALE = 0.18215
"""Factor between the VAE's latents and the diffusion's: Stable Diffusion's."""


@dataclass(frozen=True)
class VaeConfig:
    """Channels of the levels of diffusers' AutoencoderKL, and residual blocks on each.

    Stable Diffusion's by default.
    """

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32


@dataclass(frozen=True)
class DiffBirConfig:
    """Sizes of the four parts, and tokens of a text context; DiffBIR v2's by default."""

    stage1: RrdbConfig = field(default_factory=RrdbConfig)
    unet: UNetConfig = field(default_factory=sd21)
    vae: VaeConfig = field(default_factory=VaeConfig)
    text_tokens: int = 77


def tiny_diffbir() -> DiffBirConfig:
    """A configuration for tests, whose four parts run in milliseconds."""
    unet = UNetConfig(
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=24,
        use_linear_projection=True,
    )
    return DiffBirConfig(RrdbConfig(8, 4, 2), unet, VaeConfig((32, 32, 64, 64), 1), text_tokens=7)


def build_vae(config: VaeConfig) -> AutoencoderKL:
    """Stable Diffusion's autoencoder: four levels, thus one latent position for 8 x 8 pixels."""
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=config.norm_num_groups,
    )


class VaeEncoder(nn.Module):
    """RGB [B, 3, H, W] in [0, 1] -> condition [B, 4, H/8, W/8]: the mode of the VAE's posterior, scaled."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        parts: Any = vae
        self.encoder, self.quant_conv = parts.encoder, parts.quant_conv

    def forward(self, image: Tensor) -> Tensor:
        moments = self.quant_conv(self.encoder(2 * image - 1))
        mode: Tensor = moments[:, :LATENT_CHANNELS]
        return LATENT_SCALE * mode


class VaeDecoder(nn.Module):
    """Latents [B, 4, h, w] -> RGB [B, 3, 8 h, 8 w], in [0, 1] but for what overshoots."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        parts: Any = vae
        self.post_quant_conv, self.decoder = parts.post_quant_conv, parts.decoder

    def forward(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.post_quant_conv(latents / LATENT_SCALE))
        return (decoded + 1) / 2


class IRControlNet(nn.Module):
    """The U-Net's encoder on noisy latents and condition together, and a 1x1 convolution on each feature.

    Its results are added to the U-Net's own skip features, the last to its middle.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        unet: Any = build_base_unet(config, 2 * LATENT_CHANNELS)
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.conv_in, self.down_blocks, self.mid_block = unet.conv_in, unet.down_blocks, unet.mid_block
        widths = skip_widths(config)
        self.zero_convs = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.mid_zero_conv = nn.Conv2d(widths[-1], widths[-1], 1)

    def forward(
        self, latents: Tensor, condition: Tensor, timestep: Tensor, context: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Latents and condition [B, 4, h, w], timestep [1], context [B, L, C] -> skip features, the middle.

        `context` is None where attention holds its own.
        """
        x = self.conv_in(torch.cat([latents, condition], dim=1))
        embedding = embed_time(self, timestep, x)
        features = [x]
        for block in self.down_blocks:
            x, added = block(x, embedding, **context_of(block, context))
            features += added
        x = self.mid_block(x, embedding, encoder_hidden_states=context)
        skips = [zero_conv(feature) for zero_conv, feature in zip(self.zero_convs, features, strict=True)]
        return skips, self.mid_zero_conv(x)


def skip_widths(config: UNetConfig) -> list[int]:
    """Channels of a U-Net's skip features: the first convolution, then each level's blocks and its end."""
    widths = [config.block_out_channels[0]]
    for level, width in enumerate(config.block_out_channels):
        is_last = level == len(config.block_out_channels) - 1
        widths += [width] * (config.layers_per_block + (not is_last))
    return widths


def embed_time(parts: Any, timestep: Tensor, like: Tensor) -> Tensor:  # noqa: ANN401 - a U-Net's two modules
    """The time embedding [1, D] of a timestep [1]; diffusers computes its frequencies in float32."""
    embedding: Tensor = parts.time_embedding(parts.time_proj(timestep).to(like.dtype))
    return embedding


def context_of(block: nn.Module, context: Tensor | None) -> dict[str, Tensor | None]:
    """The keyword argument of a block with cross-attention; other blocks take none."""
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class Denoiser(nn.Module):
    """One step of the diffusion, for both text contexts at once.

    Attributes:
        contexts: [2, L, C], the negative prompt first, then the positive one.
    """

    def __init__(self, config: DiffBirConfig) -> None:
        super().__init__()
        self.control = IRControlNet(config.unet)
        self.unet: UNet2DConditionModel = build_base_unet(config.unet)
        self.register_buffer("contexts", torch.zeros(2, config.text_tokens, config.unet.cross_attention_dim))

    def forward(self, latents: Tensor, condition: Tensor, timestep: Tensor) -> Tensor:
        """Latents and condition [1, 4, h, w], timestep [1] -> noise [2, 4, h, w], in the contexts' order."""
        contexts = self.get_buffer("contexts")
        latents, condition = latents.expand(2, -1, -1, -1), condition.expand(2, -1, -1, -1)
        skips, middle = self.control(latents, condition, timestep, contexts)
        unet: Any = self.unet
        noise: Tensor = unet(
            latents,
            timestep,
            contexts,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample
        return noise


class DiffBir(nn.Module):
    """The four parts, with random weights until they are loaded."""

    def __init__(self, config: DiffBirConfig) -> None:
        super().__init__()
        self.config = config
        self.stage1 = RrdbNet(config.stage1)
        vae = build_vae(config.vae)
        self.vae_encoder, self.vae_decoder = VaeEncoder(vae), VaeDecoder(vae)
        self.denoiser = Denoiser(config)


def torch_parts(model: DiffBir) -> EngineParts:
    """The model's parts in PyTorch, for pictures of any size."""
    contract = diffbir_contract()
    return EngineParts(
        {name: torch_engine(spec, model.get_submodule(name)) for name, spec in contract.items()}
    )
