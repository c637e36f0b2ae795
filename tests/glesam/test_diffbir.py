"""DiffBIR v2 computes what its authors' code computes, under the names and shapes of its official files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tiny_diffbir import DATA, NETWORKS, ORIGINAL, assert_original, built, normal, uniform
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from glesam.official.diffbir import parts_of
from glesam.restorers import diffbir_loop
from glesam.restorers.diffbir import DiffBir, DiffBirConfig, torch_parts
from glesam.restorers.diffbir_loop import (
    DiffBirRestorer,
    diffusion_size,
    guided,
    spaced_steps,
    with_colours_of,
)
from glesam.restorers.restorer import resized

PARAMETERS = {"stage1": 16_697_987, "controlnet": 363_153_280, "unet": 865_910_724, "vae": 83_653_863}
GFLOP = {"stage1": 9_399, "vae_encoder": 1_117, "denoiser": 2 * (804.26 + 269.12), "vae_decoder": 2_515}
"""At 512 x 512, twice the multiply-adds: by hand, and for a step, a batch of two, of the authors' code."""


@pytest.fixture(scope="module")
def model() -> DiffBir:
    return built()


@pytest.fixture(scope="module")
def full_size() -> DiffBir:
    """Without memory for its weights."""
    with torch.device("meta"):
        return DiffBir(DiffBirConfig()).eval()


def test_full_size_has_the_official_names_and_shapes(full_size: DiffBir) -> None:
    keys = json.loads((DATA / "diffbir_v2_keys.json").read_text())
    for network, part in zip(NETWORKS, parts_of(full_size), strict=True):
        own = {name.removeprefix(part.prefix): list(t.shape) for name, t in part.expected().items()}
        assert own == dict(keys[network]), network
        assert sum(t.numel() for t in part.expected().values()) == PARAMETERS[network]


@torch.no_grad()
def test_full_size_takes_the_operations_that_were_counted(full_size: DiffBir) -> None:
    latents = torch.zeros(1, 4, 64, 64, device="meta")
    image = torch.zeros(1, 3, 512, 512, device="meta")
    inputs = {
        "stage1": (image,),
        "vae_encoder": (image,),
        "denoiser": (latents, latents, torch.zeros(1, device="meta")),
        "vae_decoder": (latents,),
    }
    for name, expected in GFLOP.items():
        with FlopCounterMode(display=False) as counter:
            full_size.get_submodule(name)(*inputs[name])
        assert counter.get_total_flops() / 1e9 == pytest.approx(expected, rel=0.01), name


@torch.no_grad()
def test_each_part_computes_what_the_original_computes(model: DiffBir) -> None:
    assert_original("stage1", model.stage1(uniform(1, 1, 3, 12, 20)))
    assert_original("vae_encoder", model.vae_encoder(uniform(2, 1, 3, 64, 128)))
    latents, condition = normal(3, 1, 4, 8, 16), normal(4, 1, 4, 8, 16)
    assert_original("vae_decoder", model.vae_decoder(latents))
    noise = model.denoiser(latents, condition, torch.tensor([387.0]))
    assert_original("denoiser", noise, relative=1e-6)  # its time frequencies are float32 in both


@pytest.mark.parametrize("steps", [50, 3])
def test_the_sampler_takes_the_originals_steps(steps: int) -> None:
    """On a network that is a formula, from the same noise."""
    noises: Iterator[np.ndarray] = (normal(100 + index, 1, 4, 8, 16).numpy() for index in range(60))
    latents = next(noises)
    timesteps = []
    for step in spaced_steps(steps):
        timesteps.append(step.timestep)
        share = 0.5 + step.timestep / 1000
        pair = np.concatenate([np.tanh(0.7 * latents) * share, np.tanh(latents) * share])
        latents = step.previous(latents, guided(pair), next(noises))
    assert timesteps[::-1] == ORIGINAL[f"sampler_{steps}"]["timesteps"]
    assert_original(f"sampler_{steps}", latents, relative=1e-4)  # float32 after each step


def test_the_colours_are_corrected_as_in_the_original() -> None:
    details, colours = uniform(6, 1, 3, 40, 56).numpy(), uniform(7, 1, 3, 40, 56).numpy()
    assert_original("wavelet", with_colours_of(colours[0], details[0])[None])


def test_a_whole_restoration_is_the_originals() -> None:
    """With the same noise, ten steps, 64 px in place of 512; to one level, since the original rounds down."""
    picture = (255 * uniform(9, 50, 70, 3)).numpy().astype(np.uint8)
    restored = DiffBirRestorer(torch_parts(built().float()), "tiny", steps=10, least_side=64)(picture)
    assert_original("whole", restored, relative=0.01)
    assert 0 < restored.mean() < 100 < restored.max()


@pytest.mark.parametrize("size", [(90, 40), (30, 20), (17, 120)])
def test_resizing_is_torchs_antialiased_bicubic(size: tuple[int, int]) -> None:
    image = uniform(8, 3, 45, 60).float()
    expected = interpolate(image[None], size=size, mode="bicubic", antialias=True)[0]
    assert np.abs(resized(image.numpy(), size) - expected.numpy()).max() < 1e-5


def test_small_pictures_are_enlarged_for_the_diffusion() -> None:
    assert diffusion_size(600, 800, 512) == (600, 800)
    assert diffusion_size(512, 512, 512) == (512, 512)
    assert diffusion_size(100, 301, 512) == (512, 1541)
    assert diffusion_size(301, 100, 512) == (1541, 512)


def test_a_picture_comes_back_in_its_own_size_and_the_same_each_time(
    model: DiffBir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole loop on the tiny parts: each step is called once, with the timesteps in order."""
    parts = torch_parts(built().float())
    seen = []
    denoise = parts.denoise
    monkeypatch.setattr(parts, "denoise", lambda *feeds: seen.append(feeds) or denoise(*feeds))
    restorer = DiffBirRestorer(parts, "tiny", steps=3, least_side=64)
    picture = (255 * uniform(9, 50, 70, 3)).numpy().astype(np.uint8)
    restored = restorer(picture)
    assert restored.shape == picture.shape and restored.dtype == np.uint8
    assert [timestep for _, _, timestep in seen] == [999, 500, 0]
    assert seen[0][0].shape == (1, 4, 8, 16), "64 x 89 px, padded to 64 x 128"
    assert restored.std() > 1
    assert np.array_equal(restorer(picture), restored)
    other = DiffBirRestorer(parts, "tiny", steps=3, least_side=64, seed=1)
    assert not np.array_equal(other(picture), restored)
    assert restorer.origin == "tiny, 3 steps, guidance 4, seed 0"


def test_the_colours_of_a_restored_picture_are_those_of_stage_1(model: DiffBir) -> None:
    """The low frequencies of the result are stage 1's, whatever the diffusion paints."""
    cleaned, painted = uniform(10, 3, 64, 64).numpy(), 5 + 3 * normal(11, 3, 64, 64).numpy()
    low = diffbir_loop.low_frequencies
    constant = with_colours_of(np.full((3, 64, 64), 0.25), painted)
    assert abs(constant.mean() - 0.25) < 0.1
    assert np.abs(with_colours_of(cleaned, np.full((3, 64, 64), 7.0)) - low(cleaned)).max() < 1e-12
