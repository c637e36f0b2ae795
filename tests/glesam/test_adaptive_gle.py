"""An adaptive GLE leaves clean pictures as they are, and does more the worse a picture is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import RECIPE, STAGES, loop, small_config, small_model
from torch import Tensor

from glesam.config import GleSamConfig, tiny
from glesam.data.batches import SamplePool
from glesam.degradation_level import DegradationHead, level_of_rate
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.nano.gle_losses import restoring_losses
from glesam.nano.levels import LevelStage, level_losses, view_levels
from glesam.nano.pairs import LeveledPairs, PairedViews, Pairs
from glesam.nano.recipe import Run, encode_views, select_prior, select_restoring, train_model
from glesam_runtime.errors import CheckpointError, InputError


def adaptive_gle(bias: float = 1.5) -> Gle:
    """In float64, with a late timestep, and a head whose levels lie around `bias`."""
    torch.manual_seed(0)
    gle = Gle(replace(tiny().gle, adaptive=True, timestep=60)).double().eval()
    with torch.no_grad():
        gle.get_buffer("text_embedding").normal_()
        assert gle.level_head is not None
        gle.level_head.level.weight.normal_(std=0.1)
        gle.level_head.level.bias.fill_(bias)
    return gle


def embeddings(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    spread = torch.linspace(0.5, 1.5, count, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return spread * torch.randn(count, 256, 4, 6, dtype=torch.float64, generator=generator)


@torch.no_grad()
def test_a_clean_embedding_stays_as_it_is_to_the_bit() -> None:
    gle, z = adaptive_gle(bias=-40.0), embeddings()
    assert gle.degradation_level(z).tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(gle(z), z)
    fresh = Gle(replace(tiny().gle, adaptive=True)).eval()
    assert torch.equal(fresh(z.float()), z.float()), "an untrained head changes nothing"


@torch.no_grad()
def test_at_level_3_the_step_is_that_of_a_gle_of_fixed_strength() -> None:
    gle, z = adaptive_gle(bias=40.0), embeddings()
    fixed = Gle(replace(gle.config, adaptive=False)).double().eval()
    fixed.load_state_dict({k: v for k, v in gle.state_dict().items() if not k.startswith("level_head")})
    assert gle.degradation_level(z).tolist() == [3.0, 3.0, 3.0]
    torch.testing.assert_close(gle(z), fixed(z), rtol=1e-12, atol=1e-12)
    assert fixed.degradation_level(z) is None


@torch.no_grad()
def test_between_them_strength_and_timestep_follow_the_level_of_each_picture() -> None:
    gle, z = adaptive_gle(), embeddings()
    levels = gle.degradation_level(z)
    assert levels is not None
    assert ((levels > 0) & (levels < 3)).all()
    assert levels.unique().numel() == 3
    for i, level in enumerate(levels.tolist()):
        one, context = z[i : i + 1], gle.get_buffer("text_embedding")
        t = torch.tensor([60 * level / 3], dtype=torch.float64)
        noise = gle.unet(gle.gamma * one, t, context).sample
        restored = gle.skip_scale * one - gle.noise_scale * noise
        torch.testing.assert_close(gle(z)[i : i + 1], one.lerp(restored, level / 3), rtol=1e-9, atol=1e-9)
    other = gle(z, torch.full((3,), 3.0, dtype=torch.float64))
    assert not torch.allclose(other, gle(z)), "a given level counts instead of the predicted one"


@torch.no_grad()
def test_the_head_sees_the_mean_and_the_mean_absolute_deviation_of_every_channel() -> None:
    head, z = adaptive_gle().level_head, embeddings(2)
    assert head is not None
    mean = z.mean((2, 3))
    deviation = (z - mean[:, :, None, None]).abs().mean((2, 3))
    expected = head.level(torch.relu(head.hidden(torch.cat([mean, deviation], 1)))).squeeze(1)
    torch.testing.assert_close(head.unbounded(z), expected)


def test_the_level_of_a_rate_is_that_of_gle_sams_low_quality_levels() -> None:
    assert [level_of_rate(rate) for rate in (None, 1, 2, 4)] == [0.0, 1.0, 2.0, 3.0]
    assert 2.5 < level_of_rate(3) < 2.6


def test_the_option_is_saved_and_a_model_without_it_has_the_file_and_identity_it_had(tmp_path: Path) -> None:
    config = tiny()
    adaptive = replace(config, gle=replace(config.gle, adaptive=True))
    assert "adaptive" not in json.loads(config.to_json())["gle"]
    assert "adaptive" not in repr(config)
    assert GleSamConfig.from_json(config.to_json()) == config
    assert GleSamConfig.from_json(adaptive.to_json()) == adaptive
    with pytest.raises(InputError, match="adaptive 1: expected true or false"):
        GleSamConfig.from_json(adaptive.to_json().replace('"adaptive": true', '"adaptive": 1'))
    model = GleSam(adaptive)
    with torch.no_grad():
        assert model.gle.level_head is not None
        model.gle.level_head.level.bias.fill_(2.0)
    model.save_pretrained(tmp_path / "adaptive")
    again = GleSam.from_pretrained(tmp_path / "adaptive")
    assert again.gle.degradation_level(torch.zeros(1, 256, 4, 4)).tolist() == [2.0]
    GleSam(config).save_pretrained(tmp_path / "fixed")
    (tmp_path / "fixed" / "config.json").write_text(adaptive.to_json())
    with pytest.raises(CheckpointError, match=r"4 missing tensors, first .gle\.level_head"):
        GleSam.from_pretrained(tmp_path / "fixed")


@pytest.fixture(scope="module")
def views(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> PairedViews:
    model = small_model().eval().requires_grad_(False)
    return encode_views(model, pool, Run(tmp_path_factory.mktemp("views")), RECIPE)


def test_the_levels_of_stored_views_are_those_they_were_degraded_with(
    views: PairedViews, pool: SamplePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn again from the seed, once: a finished run's views hold no levels."""
    rates = list[int]()

    def degrade(image: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        rates.append(rate)
        return image

    levels = view_levels(views, pool, tmp_path)
    monkeypatch.setattr("glesam.data.batches.degrade", degrade)
    for index in range(views.count):
        views.draw(pool, index)
    torch.testing.assert_close(levels, torch.tensor([level_of_rate(rate) for rate in rates]))
    monkeypatch.setattr(PairedViews, "level", None)
    assert torch.equal(view_levels(views, pool, tmp_path), levels), "read from its file"


def test_a_batch_has_the_pairs_of_other_stages_with_their_levels(views: PairedViews) -> None:
    levels = torch.arange(views.count).float()
    batch, pairs = views.leveled_pairs(levels, 4, 5, 1), views.pairs(4, 5, 1)
    assert torch.equal(batch.degraded, pairs.degraded)
    for degraded, level in zip(batch.degraded, batch.levels, strict=True):
        assert torch.equal(degraded, views.read_at(int(level))["raw"].float())


def test_the_head_learns_levels_and_that_clean_pictures_have_none() -> None:
    """Noise of three strengths on embeddings: the head's own features tell them apart."""
    torch.manual_seed(0)
    head, levels = DegradationHead(), torch.tensor([1.0, 2.0, 3.0]).repeat(8)
    clean = torch.randn(24, 256, 4, 4)
    noise = levels.reshape(-1, 1, 1, 1) * torch.randn(24, 256, 4, 4)
    batch = LeveledPairs(clean, clean + noise, levels)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(150):
        losses = level_losses(head, batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["error"] < 0.3
    assert (head(clean) == 0).all()


def test_windows_are_restored_by_the_level_of_the_whole_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    gle = Gle(replace(tiny().gle, adaptive=True))
    seen = list[torch.Size]()
    plain = gle.degradation_level
    monkeypatch.setattr(gle, "degradation_level", lambda z: seen.append(z.shape) or plain(z))
    assert gle.level_head is not None
    with torch.no_grad():
        gle.level_head.level.bias.fill_(3.0)
    clean = torch.randn(2, 256, 8, 8)
    losses = restoring_losses(gle, Pairs(clean, clean + 1), 4, 0.0)
    assert seen == [(2, 256, 8, 8)]
    torch.testing.assert_close(losses["before"], torch.tensor(1.0))
    losses["loss"].backward()
    trained = {name for name, p in gle.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("unet.") for name in trained)


def test_the_recipe_trains_the_head_first_and_leaves_it_alone_afterwards(
    pool: SamplePool, tmp_path: Path
) -> None:
    config = small_config()
    torch.manual_seed(0)
    model = GleSam(replace(config, gle=replace(config.gle, adaptive=True)))
    for selected in (select_prior(model.gle), select_restoring(model.gle)):
        assert selected
        assert not {id(p) for p in selected} & {id(p) for p in model.gle.level_head.parameters()}
    recipe = replace(RECIPE, level=LevelStage(loop(5), batch=2))
    train_model(model, pool, Run(tmp_path, lambda _: None), recipe)
    assert {path.stem for path in tmp_path.glob("*.pt")} == {"level", *STAGES}
    saved = torch.load(tmp_path / "level.pt", weights_only=True)
    stored = {name: tensor for name, tensor in flat(saved).items() if name.endswith("level.bias")}
    assert stored
    assert any(torch.equal(t, model.gle.level_head.level.bias) for t in stored.values())
    assert model.gle.level_head.level.bias.any()


def flat(values: object, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested dictionaries, by the joined names."""
    if isinstance(values, Tensor):
        return {prefix: values}
    if not isinstance(values, dict):
        return {}
    return {k: v for name, inner in values.items() for k, v in flat(inner, f"{prefix}.{name}").items()}
