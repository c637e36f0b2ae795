"""A model with running statistics and a guided decoder, like nano's, and a recipe of two steps a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate.state import AcceleratorState

from glesam.config import ConvEncoderConfig, GleSamConfig, GuidedDecoderConfig, tiny
from glesam.model import GleSam
from glesam.nano.recipe import DecoderStage, Recipe, Stage
from glesam.training.loop import LoopConfig

ENCODER = ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1), attention_blocks=1)


def small_config() -> GleSamConfig:
    """Its timestep is late: the first ones leave GLE too little to do for a test to see it learn."""
    config = tiny()
    sam = replace(config.sam, encoder=ENCODER, decoder=GuidedDecoderConfig(64))
    return replace(config, sam=sam, gle=replace(config.gle, gamma=2.0, timestep=200))


def small_model() -> GleSam:
    torch.manual_seed(0)
    return GleSam(small_config())


def loop(seed: int, average: float = 0.0) -> LoopConfig:
    return LoopConfig(2, lr=1e-3, warmup=1, save_every=1, report_every=1, seed=seed, average=average)


def stage(seed: int, average: float = 0.0) -> Stage:
    return Stage(loop(seed, average), image_size=64, batch_size=2)


DECODER = DecoderStage(loop(4), image_size=64, batch_size=2, views=3)
RECIPE = Recipe(stage(0, 0.9), stage(1, 0.9), stage(2), stage(3), DECODER)
STAGES = ("sam-small", "sam", "base", "gle", "decoder")

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


def trained_model() -> GleSam:
    """Ready for the stages: adapters and context that are not zero."""
    model = small_model()
    torch.manual_seed(1)
    model.gle.get_buffer("text_embedding").normal_()
    for name, parameter in model.gle.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()
