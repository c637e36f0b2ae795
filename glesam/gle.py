"""GLE, generative latent space enhancement: one denoising step on SAM's image embedding.

With g = gamma, abar = alphas_cumprod[T] and eps the U-Net (GleSAM, CVPR 2025, equation (4)):

    z_hat = (g z - sqrt(1 - abar) eps(g z; T, context)) / (g sqrt(abar))
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from glesam.auxiliary import AuxiliaryEncoder
from glesam.config import EMBEDDING_CHANNELS, GleConfig, UNetConfig
from glesam.degradation_level import MOST_DEGRADED, DegradationHead
from glesam_runtime.errors import InputError

LATENT_CHANNELS = 4
"""Channels that Stable Diffusion's U-Net reads and writes before CRE."""

LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
    "conv_in",
    "conv_out",
)
"""Suffixes of the modules that the authors adapt; norms and the time embedding are not among them."""
CRE = ("unet.conv_in.", "unet.conv_out.")
"""The convolutions that channel replication and expansion widens."""


def build_base_unet(config: UNetConfig, channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """A U-Net without adapters, float [B, channels, h, w] in and out; 4 channels are Stable Diffusion's."""
    return UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.block_out_channels,
        down_block_types=config.down_block_types,
        up_block_types=config.up_block_types,
        mid_block_type=config.mid_block_type,
        layers_per_block=config.layers_per_block,
        attention_head_dim=config.attention_head_dim,
        cross_attention_dim=config.cross_attention_dim,
        use_linear_projection=config.use_linear_projection,
        norm_num_groups=config.norm_num_groups,
    )


def expand_channels(unet: UNet2DConditionModel) -> None:
    """Channel replication and expansion (CRE), in place: 4 -> 256 channels by repetition, not rescaled.

    GleSAM, section 3.2.

    `conv_in` repeats its weight along the input axis, `conv_out` its weight and bias along the
    output axis, so that channel c of the embedding meets latent channel c mod 4.
    """
    repeats = EMBEDDING_CHANNELS // LATENT_CHANNELS
    conv_in, conv_out = unet.conv_in, unet.conv_out
    width, last = conv_in.out_channels, conv_out.in_channels
    unet.conv_in = nn.Conv2d(EMBEDDING_CHANNELS, width, 3, padding=1).to(conv_in.weight)
    unet.conv_out = nn.Conv2d(last, EMBEDDING_CHANNELS, 3, padding=1).to(conv_out.weight)
    with torch.no_grad():
        unet.conv_in.weight.copy_(conv_in.weight.repeat(1, repeats, 1, 1))
        unet.conv_in.bias.copy_(conv_in.bias)
        unet.conv_out.weight.copy_(conv_out.weight.repeat(repeats, 1, 1, 1))
        unet.conv_out.bias.copy_(conv_out.bias.repeat(repeats))
    unet.register_to_config(in_channels=EMBEDDING_CHANNELS, out_channels=EMBEDDING_CHANNELS)


def build_gle_unet(config: GleConfig) -> UNet2DConditionModel:
    """GLE's U-Net: CRE (`expand_channels`), then a LoRA adapter on every module of `LORA_TARGETS`.

    Each only where the configuration says so. Without CRE, the first and the last convolution have 256
    channels with weights of their own.
    """
    unet = build_base_unet(config.unet, LATENT_CHANNELS if config.channel_expansion else EMBEDDING_CHANNELS)
    if config.channel_expansion:
        expand_channels(unet)
    if config.lora_rank:
        unet.add_adapter(lora_config(config))
    return unet


def lora_config(config: GleConfig) -> LoraConfig:
    """PEFT's configuration of an adapter set; a fresh one changes nothing, its B factors are zero."""
    return LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(LORA_TARGETS))


def is_full_rank(name: str, config: GleConfig) -> bool:
    """Whether a parameter of `Gle` learns where the whole U-Net does: its own weights, not its adapters.

    Where CRE widened the first and the last convolution, these stay as they are, or their channels would not
    be copies any more; their LoRA learns instead.
    """
    expanded = CRE if config.channel_expansion else ()
    return name.startswith("unet.") and ("lora_" in name) == name.startswith(expanded)


def load_base_weights(unet: UNet2DConditionModel, base: UNet2DConditionModel, assign: bool = False) -> None:
    """Puts a base U-Net under the adapters of a GLE U-Net, where it has any, in place.

    Args:
        base: a U-Net without adapters; one of 4 channels, before CRE, is widened in place.
        assign: whether the base's own tensors replace `unet`'s, which may be on the meta device; they are
            copied otherwise.
    """
    if base.conv_in.in_channels == LATENT_CHANNELS:
        expand_channels(base)
    weights = OrderedDict(base.state_dict())
    names = [name for name in unet.state_dict() if "lora_" not in name]
    under = {name: weights[name.replace("base_layer.", "")] for name in names}
    unet.load_state_dict(under, strict=False, assign=assign)


def alphas_cumprod(config: GleConfig) -> Tensor:
    """abar_t, float32 [num_train_timesteps], of Stable Diffusion's scaled-linear schedule."""
    with torch.device("cpu"):  # its values are read while a model is built, even one on the meta device
        scheduler = DDPMScheduler(
            beta_schedule="scaled_linear",
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            num_train_timesteps=config.num_train_timesteps,
        )
    schedule: Tensor = scheduler.alphas_cumprod
    return schedule


class Gle(nn.Module):
    """Image embeddings [B, 256, h, w] -> enhanced image embeddings [B, 256, h, w].

    Equation (4) is computed as z_hat = skip_scale z - noise_scale eps(gamma z), its two coefficients in
    float64. gamma is the scale of FDA, feature distribution alignment.

    Where the configuration says `adaptive`, the step follows the picture's degradation level: with the
    strength s = level / 3, the timestep is s T, and the answer z + s (z_hat - z). Embeddings of level 0 stay
    as they are, to the bit; at level 3 the step is that of a GLE without the option.

    Where it says `auxiliary`, the U-Net reads z + a instead of z, with a of `AuxiliaryEncoder`.
    """

    def __init__(self, config: GleConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = build_gle_unet(config)
        self.level_head = DegradationHead() if config.adaptive else None
        self.auxiliary = AuxiliaryEncoder() if config.auxiliary else None
        context = torch.zeros(1, config.text_tokens, config.unet.cross_attention_dim)
        self.register_buffer("text_embedding", context)
        abar = float(alphas_cumprod(config)[config.timestep])
        self.gamma = config.gamma
        self.skip_scale = 1 / math.sqrt(abar)
        self.noise_scale = math.sqrt((1 - abar) / abar) / config.gamma

    def forward(
        self, image_embeddings: Tensor, level: Tensor | None = None, auxiliary_image: Tensor | None = None
    ) -> Tensor:
        """Enhances embeddings of B pictures.

        Args:
            level: [B], degradation levels of an adaptive GLE; None: predicted here.
            auxiliary_image: [B, 1, S, S], of a GLE with `auxiliary`; None: zeros.
        """
        scaled = self.gamma * self.with_auxiliary(image_embeddings, auxiliary_image)
        if self.level_head is None:
            noise = self.predict_noise(scaled)
            return self.skip_scale * image_embeddings - self.noise_scale * noise
        strength = (self.level_head(image_embeddings) if level is None else level) / MOST_DEGRADED
        noise = self.predict_noise(scaled, strength * self.config.timestep)
        change = (self.skip_scale - 1) * image_embeddings - self.noise_scale * noise
        return image_embeddings + strength[:, None, None, None] * change

    def with_auxiliary(self, image_embeddings: Tensor, auxiliary_image: Tensor | None) -> Tensor:
        """The embeddings that the U-Net reads, before gamma. Raises InputError for an image without use."""
        if auxiliary_image is None:
            return image_embeddings
        if self.auxiliary is None:
            raise InputError(
                "auxiliary_image: this GLE has no auxiliary input; make and train one that has it in Python "
                "(GleConfig's auxiliary, glesam.nano.pairs.AuxiliaryPairs), or leave the image out"
            )
        added: Tensor = self.auxiliary(auxiliary_image)
        return image_embeddings + added

    def degradation_level(self, image_embeddings: Tensor) -> Tensor | None:
        """The pictures' degradation levels [B], in [0, 3]; None where this GLE is not adaptive."""
        if self.level_head is None:
            return None
        level: Tensor = self.level_head(image_embeddings)
        return level

    def predict_noise(self, scaled_embeddings: Tensor, timestep: Tensor | None = None) -> Tensor:
        """eps(g z; T, context), [B, 256, h, w]; `timestep` [B]: another one than the configuration's."""
        context = self.get_buffer("text_embedding").expand(len(scaled_embeddings), -1, -1)
        t = self.config.timestep if timestep is None else timestep
        noise: Tensor = self.unet(scaled_embeddings, t, context).sample
        return noise
