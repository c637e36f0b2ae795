"""A smaller GLE, made from a model's own: layers and attention are left out, the rest stays as it is.

Which layers follows Kim et al., "BK-SDM: A Lightweight, Fast, and Cheap Version of Stable Diffusion" (ECCV
2024): a down block keeps its first layers, an up block its first ones and its last, whose input has the width
of the level above. So every weight that stays has the shape that it had, and none is new: the skip connection
of a down block's last kept layer takes the place of those that went. Where what went computed nothing, the
smaller GLE computes the same.

Left-out layers are missed until the smaller GLE is trained (`glesam.training.teacher`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from glesam.config import (
    EMBEDDING_CHANNELS,
    EMBEDDING_STRIDE,
    MID_BLOCK,
    MID_RESNET,
    GleSamConfig,
    UNetConfig,
)
from glesam.gle import Gle
from glesam.model import GleSam
from glesam_runtime.errors import InputError

PLAIN_BLOCKS = {"CrossAttnDownBlock2D": "DownBlock2D", "CrossAttnUpBlock2D": "UpBlock2D"}
"""Blocks of diffusers' U-Net with attention, and those with the same resnets alone."""
MID_BLOCKS = {"resnet": MID_RESNET, "none": None}
"""What may be left of the mid block, by the value of --mid-block: its first resnet, or nothing."""
UP_LAYER = re.compile(r"(gle\.unet\.up_blocks\.\d+\.(?:resnets|attentions)\.)(\d+)(\..*)")
"""Name of a tensor in a layer of an up block; the layer's index is the second group."""


@dataclass(frozen=True)
class Reduction:
    """What of GLE's U-Net is left out; None: nothing of this kind.

    Attributes:
        layers_per_block: resnets, each with its attention, that stay in a down block; an up block has one
            more.
        levels_without_attention: number of levels that lose their attention, from the finest on.
        mid_block: what stays of the mid block, `resnet` or `none`.
    """

    layers_per_block: int | None = None
    levels_without_attention: int | None = None
    mid_block: str | None = None

    def of(self, unet: UNetConfig) -> UNetConfig:
        """The smaller U-Net's configuration. Raises InputError where nothing would be left out."""
        if self == Reduction():
            raise InputError(
                "nothing to leave out; give --layers-per-block, --levels-without-attention or --mid-block"
            )
        if self.levels_without_attention is not None:
            unet = without_attention(unet, self.levels_without_attention)
        if self.layers_per_block is not None:
            unet = with_layers(unet, self.layers_per_block)
        return unet if self.mid_block is None else with_mid_block(unet, self.mid_block)


def without_attention(unet: UNetConfig, levels: int) -> UNetConfig:
    """The U-Net without attention at its finest `levels`; the mid block is none of them."""
    count = len(unet.down_block_types)
    if not 1 <= levels <= count:
        raise InputError(f"levels without attention {levels}: expected 1 to {count}, this U-Net's levels")
    down = (*plain(unet.down_block_types[:levels]), *unet.down_block_types[levels:])
    up = (*unet.up_block_types[: count - levels], *plain(unet.up_block_types[count - levels :]))
    if (down, up) == (unet.down_block_types, unet.up_block_types):
        raise InputError(f"levels without attention {levels}: the finest {levels} have none already")
    return replace(unet, down_block_types=down, up_block_types=up)


def plain(block_types: Sequence[str]) -> list[str]:
    """The block types without attention."""
    return [PLAIN_BLOCKS.get(name, name) for name in block_types]


def with_layers(unet: UNetConfig, layers: int) -> UNetConfig:
    """The U-Net with fewer layers in each block; one must stay, since it changes the number of channels."""
    if unet.layers_per_block == 1:
        raise InputError(f"layers per block {layers}: this U-Net has 1, and it must stay")
    if not 1 <= layers < unet.layers_per_block:
        raise InputError(
            f"layers per block {layers}: expected 1 to {unet.layers_per_block - 1}, fewer than this U-Net's"
        )
    return replace(unet, layers_per_block=layers)


def with_mid_block(unet: UNetConfig, kept: str) -> UNetConfig:
    """The U-Net with less of its mid block."""
    if kept not in MID_BLOCKS:
        raise InputError(f"mid block {kept}: expected {' or '.join(MID_BLOCKS)}")
    if unet.mid_block_type not in ((MID_BLOCK,) if kept == "resnet" else (MID_BLOCK, MID_RESNET)):
        raise InputError(f"mid block {kept}: this U-Net has no more than that")
    return replace(unet, mid_block_type=MID_BLOCKS[kept])


def smaller_gle(model: GleSam, reduction: Reduction) -> GleSam:
    """Returns the model with less of GLE's U-Net, in eval mode; LoRA adapters stay with their layers.

    Both share the tensors that stay: train it only where `model` is no longer needed.

    Raises:
        InputError: the reduction does not fit, or leaves nothing out.
    """
    layers = model.config.gle.unet.layers_per_block
    unet = reduction.of(model.config.gle.unet)
    with torch.device("meta"):
        smaller = GleSam(replace(model.config, gle=replace(model.config.gle, unet=unet)))
    tensors = model.state_dict()
    kept = {
        name: tensors[original_name(name, unet.layers_per_block, layers)] for name in smaller.state_dict()
    }
    smaller.load_tensors(kept, "the smaller GLE")
    return smaller.eval()


def original_name(name: str, kept: int, layers: int) -> str:
    """Name in a model of `layers` layers per block of a tensor in the one that keeps `kept` of them.

    Up blocks have one layer more; the last stays the last.
    """
    match = UP_LAYER.fullmatch(name)
    return f"{match[1]}{layers}{match[3]}" if match and int(match[2]) == kept else name


@dataclass(frozen=True)
class Cost:
    """Size and work of GLE's U-Net: `parameters`, and `flop` of one image (2 per multiply-add)."""

    parameters: int
    flop: int

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters and {self.flop / 1e9:.2f} GFLOP"


@torch.no_grad()
def cost_of(config: GleSamConfig) -> Cost:
    """What GLE's U-Net costs, its LoRA merged and nothing folded; no weight is made for it."""
    side = config.sam.image_size // EMBEDDING_STRIDE
    with torch.device("meta"):
        gle = Gle(replace(config.gle, lora_rank=0)).eval()
    scaled = torch.zeros(1, EMBEDDING_CHANNELS, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        gle.predict_noise(scaled)
    return Cost(sum(p.numel() for p in gle.unet.parameters()), counter.get_total_flops())
