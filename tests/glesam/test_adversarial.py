"""The GAN term: its values by hand, its features are the student's, and both sides learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glesam.config import tiny
from glesam.gle import Gle
from glesam.training.adapters import DEFAULT, STUDENT, adapter, adapter_parameters, add_student
from glesam.training.critic.adversarial import (
    DiscriminatorHead,
    discriminator_loss,
    generator_loss,
    mid_features,
    realism,
)
from glesam.training.critic.distribution_matching import draw_noising

SHAPE = (2, 256, 8, 8)


@pytest.fixture
def gle() -> Gle:
    torch.manual_seed(0)
    gle = Gle(tiny().gle).requires_grad_(False)
    gle.get_buffer("text_embedding").normal_()
    add_student(gle)
    for name in (DEFAULT, STUDENT):
        for parameter in adapter_parameters(gle, name):
            torch.nn.init.normal_(parameter, std=0.1)
            parameter.requires_grad_(True)
    return gle


def random(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_the_losses_are_softplus_worked_out_by_hand() -> None:
    fake, real = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [-1.0]])
    log2 = math.log(2)
    assert float(generator_loss(fake)) == pytest.approx((log2 + math.log(1 + math.exp(-2))) / 2)
    expected = (log2 + math.log(1 + math.e)) / 2 + (log2 + math.log(1 + math.exp(2))) / 2
    assert float(discriminator_loss(real, fake)) == pytest.approx(expected)


def test_the_head_reads_a_mid_block_of_stable_diffusions_size() -> None:
    with torch.device("meta"):
        head = DiscriminatorHead(1280, 32)
        assert head(torch.empty(3, 1280, 8, 8)).shape == (3, 1, 4, 4)


@torch.no_grad()
def test_the_features_are_what_the_students_mid_block_computes(gle: Gle) -> None:
    seen: list[Tensor] = []
    hook = gle.unet.mid_block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    x, timesteps = random(1), torch.tensor([30, 900])
    with adapter(gle.unet, STUDENT):
        gle.unet(x, timesteps, gle.get_buffer("text_embedding").expand(2, -1, -1))
    hook.remove()
    torch.testing.assert_close(mid_features(gle, x, timesteps), seen[0])


def test_the_head_fits_the_models_mid_block(gle: Gle) -> None:
    logits = realism(gle, DiscriminatorHead.of(gle), random(1), draw_noising(SHAPE, 0, 0))
    assert logits.shape == (2, 1, 1, 1)
    assert len(set(logits.flatten().tolist())) == 2


def test_the_generators_term_reaches_what_it_restored(gle: Gle) -> None:
    restored = gle.gamma * gle(random(1))
    head = DiscriminatorHead.of(gle)
    generator_loss(realism(gle, head, restored, draw_noising(SHAPE, 0, 0))).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in adapter_parameters(gle, DEFAULT))


def test_the_discriminator_learns_to_tell_two_kinds_apart(gle: Gle) -> None:
    torch.manual_seed(0)
    head = DiscriminatorHead.of(gle)
    trained = [*adapter_parameters(gle, STUDENT), *head.parameters()]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    values = []
    for step in range(12):
        noising = draw_noising(SHAPE, 0, step % 2)
        real, fake = (realism(gle, head, x, noising) for x in (random(1, 3.0), random(2, 0.3)))
        loss = discriminator_loss(real, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert all(parameter.grad is None for parameter in adapter_parameters(gle, DEFAULT))
    assert values[-1] < 0.8 * values[0]
