"""A model with running statistics and drawn prompts, like nano's, and a recipe of two steps a stage."""

from __future__ import annotations

from dataclasses import replace

import torch

from glesam.config import ConvEncoderConfig, GleSamConfig, tiny
from glesam.model import GleSam
from glesam.training.loop import LoopConfig
from glesam.training.recipe import Recipe, Stage

ENCODER = ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1))


def small_config() -> GleSamConfig:
    """Its timestep is late: the first ones leave GLE too little to do for a test to see it learn."""
    config = tiny()
    sam = replace(config.sam, encoder=ENCODER, draw_prompts=True)
    return replace(config, sam=sam, gle=replace(config.gle, gamma=2.0, timestep=200))


def small_model() -> GleSam:
    torch.manual_seed(0)
    return GleSam(small_config())


def stage(seed: int, steps: int = 2) -> Stage:
    loop = LoopConfig(steps, lr=1e-3, warmup=1, save_every=1, report_every=1, seed=seed)
    return Stage(loop, image_size=64, batch_size=2)


RECIPE = Recipe(stage(0), stage(1), stage(2), stage(3), stage(4), stage(5))
STAGES = ("shapes", "sam-small", "sam", "base", "gle", "decoder")
