"""GLE is one denoising step of a Stable Diffusion U-Net that was widened by repetition."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from glesam.config import GleConfig, sd15, sd21, tiny
from glesam.gle import (
    Gle,
    alphas_cumprod,
    build_base_unet,
    build_gle_unet,
    expand_channels,
    load_base_weights,
)

DATA = Path(__file__).parent.parent / "data"
OFFICIAL = {"sd15": sd15(), "sd21": sd21()}
PARAMETERS = {"sd15": 859_520_964, "sd21": 865_910_724}
"""Parameters of the released U-Nets, before CRE."""


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def base_unet() -> UNet2DConditionModel:
    torch.manual_seed(3)
    return build_base_unet(tiny().gle.unet).eval()


@torch.no_grad()
def test_the_widened_unet_computes_the_base_on_sums_and_repeats_its_answer() -> None:
    base, wide = base_unet().double(), base_unet()
    expand_channels(wide)
    wide.double()
    x, context = random(2, 256, 8, 8), random(2, 5, 24)
    sums = torch.stack([x[:, i::4].sum(1) for i in range(4)], dim=1)
    expected = base(sums, 1, context).sample
    actual = wide(x, 1, context).sample
    for channel in range(256):
        torch.testing.assert_close(actual[:, channel], expected[:, channel % 4], rtol=1e-10, atol=1e-11)
    assert wide.config.in_channels == wide.config.out_channels == 256


@torch.no_grad()
def test_a_fresh_gle_unet_is_its_base_and_its_adapters_change_it() -> None:
    torch.manual_seed(0)
    gle = Gle(tiny().gle).double().eval()
    base = base_unet()
    before = {name: p.clone() for name, p in gle.unet.named_parameters() if "lora_" in name}
    load_base_weights(gle.unet, base)
    assert all(torch.equal(before[name], gle.unet.get_parameter(name)) for name in before)
    widened = base_unet()
    expand_channels(widened)
    widened.double()
    x, context = random(1, 256, 4, 4), gle.get_buffer("text_embedding").normal_()
    torch.testing.assert_close(gle.predict_noise(x), widened(x, 1, context).sample, rtol=1e-12, atol=1e-12)
    for name, parameter in gle.unet.named_parameters():
        if "conv_out.lora_B" in name:
            parameter.normal_()
    assert not torch.allclose(gle.predict_noise(x), widened(x, 1, context).sample)


@pytest.mark.parametrize("style", OFFICIAL)
def test_lora_has_the_modules_and_shapes_of_the_official_files(style: str) -> None:
    official = json.loads((DATA / f"lora_keys_{style}.json").read_text())
    expected = {
        key.removeprefix("unet.").replace("lora.down", "lora_A").replace("lora.up", "lora_B"): tuple(shape)
        for key, shape in official.items()
    }
    with torch.device("meta"):
        unet = build_gle_unet(GleConfig(OFFICIAL[style], gamma=3.0, timestep=1, lora_rank=8))
    actual = {
        name.replace(".default.", "."): tuple(parameter.shape)
        for name, parameter in unet.named_parameters()
        if "lora_" in name
    }
    assert actual == expected
    adapted = [module for module in unet.modules() if isinstance(module, LoraLayer)]
    assert len(adapted) == 280
    assert {module.scaling["default"] for module in adapted} == {1.0}


@pytest.mark.parametrize("style", OFFICIAL)
def test_the_official_bases_have_the_released_number_of_parameters(style: str) -> None:
    with torch.device("meta"):
        base = build_base_unet(OFFICIAL[style])
    assert sum(p.numel() for p in base.parameters()) == PARAMETERS[style]


def test_base_weights_are_put_under_a_model_that_holds_none_yet() -> None:
    """A U-Net of 3.4 GB is not held twice: the base's own tensors become the model's."""
    base = base_unet()
    with torch.device("meta"):
        unet = build_gle_unet(tiny().gle)
    load_base_weights(unet, base, assign=True)
    name = "mid_block.resnets.0.conv1"
    assert (
        unet.get_submodule(f"{name}.base_layer").weight.data_ptr()
        == base.get_submodule(name).weight.data_ptr()
    )
    left = {n for n, p in unet.named_parameters() if p.is_meta}
    assert left
    assert all("lora_" in n for n in left)


def test_neither_norms_nor_the_time_embedding_are_adapted() -> None:
    adapted = [name for name, module in Gle(tiny().gle).unet.named_modules() if isinstance(module, LoraLayer)]
    assert adapted
    assert not [name for name in adapted if "norm" in name or "time_embedding" in name]
    assert any(name.endswith("time_emb_proj") for name in adapted)


def test_the_schedule_is_stable_diffusions() -> None:
    abar = alphas_cumprod(tiny().gle).double()
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(abar, torch.cumprod(1 - betas, 0), rtol=1e-5, atol=0)
    assert float(abar[1]) == pytest.approx(0.998296, abs=5e-7)


def test_the_coefficients_are_those_of_the_method() -> None:
    gle = Gle(tiny().gle)
    assert gle.config.timestep == 1
    assert gle.skip_scale == pytest.approx(1.00085308, abs=5e-9)
    assert gle.noise_scale * gle.gamma == pytest.approx(0.0413145, abs=5e-8)


@torch.no_grad()
@pytest.mark.parametrize(("timestep", "gamma"), [(1, 3.0), (20, 2.0), (999, 5.0)])
def test_equation_4_is_the_schedulers_prediction_of_the_original(timestep: int, gamma: float) -> None:
    torch.manual_seed(0)
    config = replace(tiny().gle, timestep=timestep, gamma=gamma)
    gle = Gle(config).double().eval()
    gle.get_buffer("text_embedding").normal_()
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False
    )
    scheduler.set_timesteps(1000)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    z = random(2, 256, 4, 4)
    step = scheduler.step(gle.predict_noise(gamma * z), timestep, gamma * z)
    expected = step.pred_original_sample / gamma
    torch.testing.assert_close(gle(z), expected, rtol=1e-12, atol=1e-12)
    assert (gle(z) - z).abs().max() > 1e-4


@torch.no_grad()
def test_every_picture_of_a_batch_meets_the_same_context() -> None:
    torch.manual_seed(0)
    gle = Gle(tiny().gle).double().eval()
    gle.get_buffer("text_embedding").normal_()
    z = random(3, 256, 4, 4)
    torch.testing.assert_close(gle(z)[2:], gle(z[2:]), rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_without_channel_expansion_every_channel_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    unet = build_gle_unet(replace(tiny().gle, channel_expansion=False, lora_rank=0))
    assert unet.config.in_channels == unet.config.out_channels == 256
    assert not torch.equal(unet.conv_in.weight[:, :4], unet.conv_in.weight[:, 4:8])
    assert not torch.equal(unet.conv_out.weight[:4], unet.conv_out.weight[4:8])


@pytest.mark.parametrize("channel_expansion", [True, False])
def test_a_model_of_rank_0_has_no_adapters(channel_expansion: bool) -> None:
    gle = Gle(replace(tiny().gle, lora_rank=0, channel_expansion=channel_expansion))
    assert not any("lora_" in name or "base_layer" in name for name, _ in gle.named_parameters())


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_base_of_256_channels_is_put_under_the_adapters_as_it_is(lora_rank: int) -> None:
    base = build_base_unet(tiny().gle.unet, 256)
    unet = build_gle_unet(replace(tiny().gle, lora_rank=lora_rank, channel_expansion=False))
    load_base_weights(unet, base)
    name = "conv_in.base_layer" if lora_rank else "conv_in"
    assert torch.equal(unet.get_submodule(name).weight, base.conv_in.weight)
