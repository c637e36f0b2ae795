"""Where nano's adapters start: GLE changes nothing yet, and reaches what matters."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_training import small_config
from torch import Tensor

from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.nano.adapter_start import principal_components, start_adapters


def model_of_rank(rank: int) -> GleSam:
    torch.manual_seed(0)
    config = small_config()
    return GleSam(replace(config, gle=replace(config.gle, lora_rank=rank, lora_alpha=2.0 * rank))).eval()


def damaged_batch() -> Batch:
    """Pictures of noise, darker and noisier when damaged; nothing else of the batch is read."""
    torch.manual_seed(1)
    image = 255 * torch.rand(2, 3, 64, 64)
    degraded = 0.6 * image + 40 * torch.rand_like(image)
    empty = torch.zeros(0)
    return Batch(image, degraded, empty, empty, empty, empty)


def factors(model: GleSam, conv: str) -> tuple[Tensor, Tensor]:
    layer = getattr(model.gle.unet, conv)
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def test_principal_components_are_found_strongest_first() -> None:
    moments = torch.diag(torch.tensor([1.0, 9.0, 4.0]))
    strength, directions = principal_components(moments, 2)
    torch.testing.assert_close(strength, torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(directions.abs(), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))


def test_gle_changes_nothing_that_it_did_not_change_before() -> None:
    model, batch = model_of_rank(4), damaged_batch()
    embeddings = model.encode(model.normalize(batch.degraded))
    with torch.no_grad():
        before = model.enhance(embeddings)
        start_adapters(model, [batch], seed=3)
        factors(model, "conv_in")[1].zero_()  # what it sees is new; what it says must be the base's
        after = model.enhance(embeddings)
    torch.testing.assert_close(after, before)


def test_the_first_convolution_sees_whitened_embeddings() -> None:
    model, batch = model_of_rank(4), damaged_batch()
    start_adapters(model, [batch], seed=3)
    with torch.no_grad():
        tokens = model.encode(model.normalize(batch.degraded)).transpose(0, 1).flatten(1)
        seen = factors(model, "conv_in")[0][:, :, 1, 1] @ (model.gle.gamma * tokens)
    torch.testing.assert_close(seen @ seen.T / seen.shape[1], torch.eye(4), atol=1e-3, rtol=1e-3)


def test_the_last_convolution_spans_the_damage() -> None:
    """Where A gives the damage's coordinates, each is about 1, and their sum is what was taken."""
    model, batch = model_of_rank(4), damaged_batch()
    start_adapters(model, [batch], seed=3)
    with torch.no_grad():
        damaged, clean = (model.encode(model.normalize(x)) for x in (batch.degraded, batch.image))
        damage = (clean - damaged).transpose(0, 1).flatten(1)
        scale = -model.gle.noise_scale * model.config.gle.lora_alpha / model.config.gle.lora_rank
        spanned = scale * factors(model, "conv_out")[1][:, :, 0, 0]
        coordinates = torch.linalg.pinv(spanned) @ damage
    moments = coordinates @ coordinates.T / coordinates.shape[1]
    torch.testing.assert_close(moments, torch.eye(4), atol=1e-2, rtol=1e-2)
    left = (damage - spanned @ coordinates).square().mean()
    strongest = torch.linalg.svdvals(damage).square()
    expected = strongest[4:].sum() / damage.numel()
    torch.testing.assert_close(left, expected, atol=1e-4, rtol=1e-3)


def test_the_start_is_a_function_of_the_seed() -> None:
    first, again = model_of_rank(4), model_of_rank(4)
    for model in (first, again):
        torch.rand(int(model is first) + 1)
        start_adapters(model, [damaged_batch()], seed=3)
    torch.testing.assert_close(factors(first, "conv_in")[1], factors(again, "conv_in")[1], rtol=0, atol=0)
