"""The decoder-side denoiser: its constants, its loop, and how nano's decoder gets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_model import randomize_norms
from tiny_training import RECIPE, small_config, small_model
from torch import Tensor, nn

from glesam.config import GleSamConfig, TwoWayDecoderConfig, tiny
from glesam.data.batches import SamplePool
from glesam.ddim import TIMESTEPS, DdimDenoiser, NoisePredictor, ddim_coefficients, gain
from glesam.model import GleSam
from glesam.nano.recipe import Run, start_denoiser, train_model
from glesam.training.stage_losses import select_decoder
from glesam_runtime.errors import InputError

PUBLISHED = (
    (1.426701, -0.502744),
    (1.290662, -0.418500),
    (1.167829, -0.360785),
    (1.056896, -0.332243),
    (1.000050, -0.010001),
)
"""The steps of the authors' file, to six digits."""


def scheduler() -> DDIMScheduler:
    """diffusers', with the authors' settings, and its schedule in float64."""
    found = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    found.set_timesteps(10)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(found.alphas_cumprod.double(), torch.cumprod(1 - betas, 0), rtol=1e-5, atol=0)
    found.alphas_cumprod = torch.cumprod(1 - betas, 0)
    found.final_alpha_cumprod = found.final_alpha_cumprod.double()
    return found


def denoiser(channels: int = 16) -> DdimDenoiser:
    torch.manual_seed(0)
    made = DdimDenoiser(channels).double().eval()
    randomize_norms(made)
    return made


def features(count: int = 3, channels: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, 6, 5, dtype=torch.float64, generator=generator)


def test_the_steps_are_those_of_the_authors() -> None:
    for actual, expected in zip(ddim_coefficients(), PUBLISHED, strict=True):
        assert actual == pytest.approx(expected, abs=6e-7)
    assert scheduler().timesteps[5:].tolist() == list(TIMESTEPS)


@torch.no_grad()
def test_the_loop_is_diffusers_ddim_without_noise() -> None:
    model, x, steps = denoiser(), features(), scheduler()
    expected = x
    for timestep in steps.timesteps[5:].tolist():
        noise = model.noise(expected, timestep)
        expected = steps.step(noise, timestep, expected, eta=0.0).prev_sample
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(x), gain() * x, rtol=0.1)


@torch.no_grad()
def test_every_prompt_is_denoised_by_itself() -> None:
    model, x = denoiser(), features()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_new_denoiser_predicts_no_noise() -> None:
    x = features()
    torch.testing.assert_close(DdimDenoiser(16).double()(x), gain() * x, rtol=1e-12, atol=0)


def test_the_network_has_the_authors_number_of_parameters() -> None:
    assert sum(p.numel() for p in NoisePredictor(256).parameters()) == 535_552


def test_the_option_is_saved_for_both_decoders_and_files_without_it_stay_as_they_were() -> None:
    for config in (small_config(), tiny()):
        sam = replace(config.sam, decoder=replace(config.sam.decoder, denoise=True))
        other = replace(config, sam=sam)
        assert "denoise" not in json.loads(config.to_json())["sam"]["decoder"]
        assert repr(other.sam) == repr(config.sam), "encoder and views of a finished run are shared"
        assert GleSamConfig.from_json(other.to_json()) == other
    with pytest.raises(InputError, match="denoise 'yes': expected true or false"):
        TwoWayDecoderConfig(denoise="yes")  # type: ignore[arg-type]


def prompts(count: int = 2) -> tuple[Tensor, ...]:
    coords = torch.rand(count, 3, 2, generator=torch.Generator().manual_seed(2)) * 60
    labels = torch.tensor([[1, 0, -1]] * count, dtype=torch.int32)
    return coords, labels, torch.zeros(count, 1, 16, 16), torch.zeros(count)


@torch.no_grad()
def test_nanos_decoder_computes_the_same_masks_until_its_denoiser_has_learnt(tmp_path: Path) -> None:
    model = small_model().eval()
    z = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(3))
    for parameter in model.mask_decoder.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    before = model.decode(z, *prompts())
    start_denoiser(model, 4)
    model.eval()
    for a, b in zip(model.decode(z, *prompts()), before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    randomize_norms(model.mask_decoder.denoiser)
    after = model.decode(z, *prompts())
    assert (after[0] - before[0]).abs().max() > 1e-2
    for index in range(2):
        one = model.decode(z, *(part[index : index + 1] for part in prompts()))
        torch.testing.assert_close(one[0], after[0][index : index + 1], rtol=1e-4, atol=1e-4)
    model.save_pretrained(tmp_path)
    again = GleSam.from_pretrained(tmp_path)
    torch.testing.assert_close(again.decode(z, *prompts())[0], after[0])


@torch.no_grad()
def test_sams_decoder_denoises_what_its_transformer_made_of_the_image() -> None:
    """All of SAM's tensors keep their names."""
    torch.manual_seed(0)
    config = tiny()
    plain = GleSam(config).eval()
    decoder = replace(config.sam.decoder, denoise=True)
    model = GleSam(replace(config, sam=replace(config.sam, decoder=decoder))).eval()
    missing, unknown = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unknown
    assert all(name.startswith("mask_decoder.transformer.denoiser.") for name in missing)
    z = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(3))
    first = plain.mask_decoder.output_upscaling[0]
    enlarged = plain.decode(z, *prompts())
    first.weight *= gain()
    for actual, expected in zip(model.decode(z, *prompts()), plain.decode(z, *prompts()), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model.decode(z, *prompts())[0], enlarged[0])


def test_stage_2_keeps_the_running_statistics_of_the_denoiser() -> None:
    """Those of a batch would change with its accumulation and its processes."""
    model = small_model().eval()
    start_denoiser(model, 4)
    select_decoder(model, train_iou_head=False)
    assert model.mask_decoder.training
    assert not any(m.training for m in model.mask_decoder.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(p.requires_grad for p in model.mask_decoder.denoiser.parameters())


def test_the_recipe_trains_the_denoiser_in_its_last_stages_and_resumes(
    pool: SamplePool, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, enhance=False, denoise=True)
    models = []
    for _ in range(2):  # the second loads what the first has trained
        model = small_model()
        train_model(model, pool, Run(tmp_path, lambda _: None), recipe)
        models.append(model)
    first, second = (model.mask_decoder.denoiser for model in models)
    assert first.noise.layers[-1].weight.any(), "it has learnt"
    assert int(first.noise.layers[-1].num_batches_tracked) > 0
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert models[0].config.sam.decoder.denoise
    assert {path.stem for path in tmp_path.glob("*.pt")} == {"sam", "baseline", "tune"}
