"""An auxiliary image helps GLE where it was trained with one, and changes nothing where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glesam.auxiliary import AuxiliaryEncoder
from glesam.config import GleSamConfig, tiny
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.nano.gle_losses import auxiliary_window, random_window, restoring_losses
from glesam.nano.pairs import AuxiliaryPairs, Pairs
from glesam.nano.recipe import select_prior, select_restoring
from glesam_runtime.errors import InputError


def gle(**changes: object) -> Gle:
    """With a late timestep, where GLE does much, and an auxiliary encoder as training leaves it."""
    torch.manual_seed(0)
    made = Gle(replace(tiny().gle, timestep=200, auxiliary=True, **changes)).eval()
    with torch.no_grad():
        made.get_buffer("text_embedding").normal_()
        made.auxiliary.last.weight.normal_(std=0.1)
    return made


def inputs(count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(count, 256, 4, 6, generator=generator), torch.rand(
        count, 1, 64, 96, generator=generator
    )


@torch.no_grad()
@pytest.mark.parametrize("adaptive", [False, True])
def test_an_image_of_zeros_is_no_image_to_the_bit(adaptive: bool) -> None:
    """After training too: no layer has a bias."""
    model, (z, image) = gle(adaptive=adaptive), inputs()
    if adaptive:
        model.level_head.level.bias.fill_(2.0)
    assert torch.equal(model(z, None, torch.zeros_like(image)), model(z))
    assert not torch.allclose(model(z, None, image), model(z))
    assert [name for name, _ in model.auxiliary.named_parameters() if "bias" in name] == []


@torch.no_grad()
def test_a_new_encoder_adds_nothing_whatever_it_sees() -> None:
    z, image = inputs()
    model = Gle(replace(tiny().gle, auxiliary=True)).eval()
    assert torch.equal(model(z, None, image), model(z))


@torch.no_grad()
def test_the_unet_reads_the_sum_and_the_skip_the_embedding_alone() -> None:
    model, (z, image) = gle().double(), inputs()
    z, image = z.double(), image.double()
    added = model.auxiliary(image)
    assert added.shape == z.shape
    noise = model.predict_noise(model.gamma * (z + added))
    torch.testing.assert_close(model(z, None, image), model.skip_scale * z - model.noise_scale * noise)


@torch.no_grad()
def test_the_level_of_an_adaptive_gle_is_the_pictures_own() -> None:
    model, (z, image) = gle(adaptive=True), inputs()
    model.level_head.level.weight.normal_(std=0.1)
    level = model.degradation_level(z)
    assert torch.equal(model(z, level, image), model(z, None, image))


def test_a_gle_without_the_option_refuses_an_image() -> None:
    z, image = inputs()
    with pytest.raises(InputError, match="this GLE has no auxiliary input; make and train one"):
        Gle(tiny().gle)(z, None, image)


def test_the_option_is_saved_and_files_without_it_stay_as_they_were(tmp_path: Path) -> None:
    config = tiny()
    other = replace(config, gle=replace(config.gle, auxiliary=True))
    assert "auxiliary" not in json.loads(config.to_json())["gle"]
    assert repr(other) == repr(config)
    assert GleSamConfig.from_json(other.to_json()) == other
    model = GleSam(other)
    nn.init.normal_(model.gle.auxiliary.last.weight)
    model.save_pretrained(tmp_path)
    again = GleSam.from_pretrained(tmp_path)
    assert torch.equal(again.gle.auxiliary.last.weight, model.gle.auxiliary.last.weight)


def test_the_encoder_is_trained_by_restoring_and_not_by_the_prior() -> None:
    model = gle()
    own = {id(p) for p in model.auxiliary.parameters()}
    assert not own & {id(p) for p in select_prior(model)}
    assert own <= {id(p) for p in select_restoring(model)}


def test_a_window_of_positions_has_its_pixels_of_the_auxiliary_image() -> None:
    rows = torch.arange(64.0).reshape(1, 1, 64, 1).expand(1, 1, 64, 64)
    pairs = AuxiliaryPairs(torch.zeros(1, 256, 4, 4), torch.zeros(1, 256, 4, 4), rows)
    torch.manual_seed(3)
    for _ in range(5):
        window = random_window(pairs, 2)
        cut = auxiliary_window(pairs, window)
        assert cut is not None
        assert cut.shape == (1, 1, 32, 32)
        assert cut[0, 0, :, 0].tolist() == list(range(16 * window[1].start, 16 * window[1].stop))
    assert auxiliary_window(Pairs(pairs.clean, pairs.degraded), window) is None


def simulated_thermal(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Warm squares on a cold ground: images [B, 1, 64, 64], and their places at stride 16 [B, 1, 4, 4]."""
    warm = (torch.rand(count, 1, 4, 4, generator=generator) > 0.5).float()
    image = 0.2 + 0.7 * warm.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return image + 0.02 * torch.randn(image.shape, generator=generator), warm


def thermal_pairs(direction: Tensor, generator: torch.Generator) -> AuxiliaryPairs:
    """Warm bodies show in clean embeddings, not in degraded ones: only the second sensor knows where."""
    image, warm = simulated_thermal(8, generator)
    ground = torch.randn(8, 256, 4, 4, generator=generator)
    return AuxiliaryPairs(ground + 2 * warm * direction, ground, image)


def test_gle_learns_from_a_simulated_thermal_channel_what_the_picture_has_lost() -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, 256, 1, 1, generator=generator)
    torch.manual_seed(0)
    config = replace(tiny().gle, timestep=200, auxiliary=True, lora_rank=0, channel_expansion=False)
    model = Gle(config).train()
    optimizer = torch.optim.Adam(select_restoring(model), lr=1e-2)
    for _ in range(60):
        loss = restoring_losses(model, thermal_pairs(direction, generator), 4, 0.0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    new = thermal_pairs(direction, generator)
    blind = (new.clean - new.degraded).var()  # of the best guess without the sensor
    with torch.no_grad():
        with_sensor = restoring_losses(model, new, 4, 0.0)["loss"]
        without = restoring_losses(model, Pairs(new.clean, new.degraded), 4, 0.0)["loss"]
    assert with_sensor < 0.5 * blind
    assert with_sensor < 0.5 * without


def test_the_encoder_halves_the_sides_four_times() -> None:
    assert AuxiliaryEncoder()(torch.zeros(1, 1, 512, 512)).shape == (1, 256, 32, 32)
