"""Names of tensors in the authors' latent diffusion files, as against diffusers' names for the same networks.

Stable Diffusion's single file, v2-1_512-ema-pruned, holds `model.diffusion_model.` (the U-Net) and
`first_stage_model.` (the VAE); DiffBIR's v2.pth holds an IRControlNet with the U-Net's names for its encoder.
Every function maps a module's own name to the name in the file.
"""

from __future__ import annotations

import re

from glesam.config import UNetConfig

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""Layers of a residual block of the U-Net."""
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "mid_zero_conv": "middle_block_out.0",
}
"""Modules whose names in the file do not depend on the number of blocks."""
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str, config: UNetConfig) -> str:
    """The file's name of a tensor of the U-Net, or of an IRControlNet."""
    module, tensor = name.rsplit(".", 1)
    for own, official in UNET.items():
        if module == own or module.startswith(f"{own}."):
            return f"{official}{_within(module.removeprefix(own))}.{tensor}"
    if zero_conv := re.fullmatch(r"zero_convs\.(\d+)", module):
        return f"zero_convs.{zero_conv[1]}.0.{tensor}"
    matched = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)(.*)", module)
    if matched is None:
        raise ValueError(f"{name}: no name in latent diffusion's files")
    place = (_down if matched[1] == "down" else _up)(config, int(matched[2]), matched[3], int(matched[4]))
    within = ".op" if matched[3] == "downsamplers" else _within(matched[5])
    return f"{place}{within}.{tensor}"


def _within(rest: str) -> str:
    """The rest of a name within a block: a residual block's layers differ, a transformer's do not."""
    layer = rest.removeprefix(".")
    return f".{RESNET.get(layer, layer)}" if layer else ""


def _down(config: UNetConfig, level: int, kind: str, index: int) -> str:
    """input_blocks: the first convolution, then on each level its blocks and a downsampler."""
    first = (config.layers_per_block + 1) * level + 1
    if kind == "downsamplers":
        return f"input_blocks.{first + config.layers_per_block}.0"
    return f"input_blocks.{first + index}.{int(kind == 'attentions')}"


def _up(config: UNetConfig, level: int, kind: str, index: int) -> str:
    """output_blocks: one block more on each level, the last of which ends with an upsampler."""
    first = (config.layers_per_block + 1) * level
    if kind == "upsamplers":
        has_attention = config.up_block_types[level].startswith("CrossAttn")
        return f"output_blocks.{first + config.layers_per_block}.{1 + has_attention}"
    return f"output_blocks.{first + index}.{int(kind == 'attentions')}"


def vae_name(name: str, levels: int) -> str:
    """The file's name of a tensor of the VAE; its decoder counts the `levels` levels backwards."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        before, after = name.split("mid_block.attentions.0.")
        module, tensor = after.rsplit(".", 1)
        return f"{before}mid.attn_1.{VAE_ATTENTION[module]}.{tensor}"
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
