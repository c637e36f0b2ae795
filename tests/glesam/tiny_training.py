"""A small model with nano's encoder and decoder, and a recipe of two steps a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate.state import AcceleratorState

from glesam.config import DecoderConfig, GleSamConfig, LiteEncoderConfig, PromptMapDecoderConfig, tiny
from glesam.model import GleSam
from glesam.nano.recipe import GleStage, JointStage, Recipe, SamStage
from glesam.training.loop import LoopConfig

ENCODER = LiteEncoderConfig(attention_blocks=1, mixers=1, mixer_channels=16)
DECODER = PromptMapDecoderConfig(coarse=16, middle=16, keys=16, fine=16, dilations=(1, 2), shared_layers=1)


def small_config() -> GleSamConfig:
    """Its timestep is late: the first ones leave GLE too little to do for a test to see it learn.

    Its U-Net has a level less than `tiny`'s: most of a test's time passes in making, copying and saving it.
    """
    config = tiny()
    unet = replace(
        config.gle.unet,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    sam = replace(
        config.sam, encoder=ENCODER, decoder=DECODER, pixel_mean=(127.0,) * 3, pixel_std=(128.0,) * 3
    )
    return replace(config, sam=sam, gle=replace(config.gle, unet=unet, gamma=2.0, timestep=200))


def small_model(decoder: DecoderConfig = DECODER) -> GleSam:
    torch.manual_seed(0)
    config = small_config()
    return GleSam(replace(config, sam=replace(config.sam, decoder=decoder)))


def loop(seed: int, average: float = 0.0) -> LoopConfig:
    return LoopConfig(2, lr=1e-3, warmup=1, save_every=1, report_every=1, seed=seed, average=average)


# Smaller windows reach a stride-2 convolution as one position: torch 2.13 on CPUs then has NaN in bf16
# gradients.
SAM = SamStage(loop(0, 0.9), crop_px=32, crop_batch=2, whole_px=64, whole_batch=1, objects=3)
RECIPE = Recipe(
    SAM,
    GleStage(loop(1, 0.9), batch=2, side=4),
    GleStage(loop(2), batch=2, side=4),
    JointStage(loop(3, 0.9), batch=2, prompts=2),
    replace(SAM, loop=loop(4, 0.9), first_block=2, clean_share=0.35),
    views=3,
    statistics=2,
)
STAGES = ("sam", "prior", "restore", "joint", "tune")

SETTINGS = {
    "batch_size": 2, "steps": 3, "warmup": 1, "lr": 1e-3, "save_every": 1, "report_every": 1,
    "pictures_every": 0, "workers": 1, "clean_share": 1.0,
}  # fmt: skip
"""Settings of a stage that takes a second; degrading pictures, 512 px each, would be most of it."""


@contextmanager
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its precision for the whole process; inside, and after, it has none yet."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def trained_model(decoder: DecoderConfig = DECODER) -> GleSam:
    """Ready for the stages: adapters and context that are not zero."""
    model = small_model(decoder)
    torch.manual_seed(1)
    model.gle.get_buffer("text_embedding").normal_()
    for name, parameter in model.gle.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()
