"""The distribution-matching term: its gradient is the formula, and it trains what it should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glesam.config import tiny
from glesam.gle import Gle, alphas_cumprod
from glesam.training.adapters import DEFAULT, STUDENT, adapter, adapter_parameters, add_student
from glesam.training.critic.distribution_matching import (
    Noising,
    add_noise,
    distribution_matching_loss,
    draw_noising,
    matching_gradient,
    predicted_original,
    student_loss,
    surrogate_loss,
)

SHAPE = (2, 256, 8, 8)


@pytest.fixture
def gle() -> Gle:
    """In float64, the base frozen, both adapter sets away from zero."""
    torch.manual_seed(0)
    gle = Gle(tiny().gle).double().requires_grad_(False)
    gle.get_buffer("text_embedding").normal_()
    add_student(gle)
    gle.double()
    for name in (DEFAULT, STUDENT):
        for parameter in adapter_parameters(gle, name):
            torch.nn.init.normal_(parameter, std=0.1)
            parameter.requires_grad_(True)
    return gle


def random(seed: int = 1) -> Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draw(step: int = 0) -> Noising:
    return draw_noising(SHAPE, seed=0, step=step)


def denoised(gle: Gle, name: str | None, x: Tensor, noising: Noising) -> Tensor:
    """x0 of the noised x, picture by picture, straight from the equations."""
    actual = []
    for i, t in enumerate(noising.timesteps.tolist()):
        abar = alphas_cumprod(gle.config)[t].double()
        noisy = abar.sqrt() * x[i : i + 1] + (1 - abar).sqrt() * noising.noise[i : i + 1].double()
        with torch.no_grad(), adapter(gle.unet, name):
            eps = gle.unet(noisy, t, gle.get_buffer("text_embedding")).sample
        actual.append((noisy - (1 - abar).sqrt() * eps) / abar.sqrt())
    return torch.cat(actual)


def test_the_gradient_of_the_loss_is_the_formula(gle: Gle) -> None:
    x, noising = random().requires_grad_(), draw()
    distribution_matching_loss(gle, x, noising).backward()
    sample = x.detach()
    p_real = sample - denoised(gle, None, sample, noising)
    p_fake = sample - denoised(gle, STUDENT, sample, noising)
    expected = (p_real - p_fake) / p_real.abs().mean(dim=(1, 2, 3), keepdim=True) / x.numel()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=0)
    assert float(expected.abs().max()) > 0


def test_each_picture_is_normalized_by_its_own_distance() -> None:
    sample, real, fake = random(1), random(2), random(3)
    both = matching_gradient(sample, real, fake)
    for i in range(len(sample)):
        one = slice(i, i + 1)
        torch.testing.assert_close(both[one], matching_gradient(sample[one], real[one], fake[one]))
    torch.testing.assert_close(matching_gradient(7 * sample, 7 * real, 7 * fake), both)


def test_a_perfect_teacher_and_student_give_no_gradient_and_no_nan() -> None:
    sample = random()
    assert not matching_gradient(sample, sample, sample).any()
    x = sample.clone().requires_grad_()
    surrogate_loss(x, torch.zeros_like(x)).backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_the_loss_trains_what_restored_and_neither_teacher_nor_student(gle: Gle) -> None:
    restored = gle.gamma * gle(random())
    distribution_matching_loss(gle, restored, draw()).backward()
    for name, parameter in gle.named_parameters():
        assert (parameter.grad is not None) == (f".{DEFAULT}." in name), name


def test_the_students_loss_trains_the_student_alone(gle: Gle) -> None:
    restored = (gle.gamma * gle(random())).detach()
    student_loss(gle, restored, draw()).backward()
    for name, parameter in gle.named_parameters():
        assert (parameter.grad is not None) == (f".{STUDENT}." in name), name
    trained = {name for name, p in gle.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any("conv_out" in name for name in trained)
    assert any("conv_in" in name for name in trained)


@torch.no_grad()
def test_the_students_loss_is_the_error_of_the_noise_it_predicts(gle: Gle) -> None:
    x, noising = random(), draw()
    original = predicted_original(gle, STUDENT, x, noising)
    abar = alphas_cumprod(gle.config).double()[noising.timesteps].reshape(-1, 1, 1, 1)
    predicted = (add_noise(gle, x, noising) - abar.sqrt() * original) / (1 - abar).sqrt()
    expected = (predicted - noising.noise.double()).square().mean()
    torch.testing.assert_close(student_loss(gle, x, noising), expected, rtol=1e-9, atol=0)


def test_a_student_that_learns_approaches_the_noise(gle: Gle) -> None:
    x, noising = random(), draw()
    optimizer = torch.optim.Adam(adapter_parameters(gle, STUDENT), lr=1e-2)
    values = []
    for _ in range(8):
        loss = student_loss(gle, x, noising)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.9 * values[0]


def test_a_draw_is_a_function_of_seed_step_and_row() -> None:
    whole = draw_noising((4, 256, 2, 2), 3, 17)
    for rows in (range(0, 2), range(2, 4)):
        part = draw_noising((2, 256, 2, 2), 3, 17, rows)
        assert torch.equal(part.timesteps, whole.timesteps[rows.start : rows.stop])
        assert torch.equal(part.noise, whole.noise[rows.start : rows.stop])
    for other in (draw_noising((4, 256, 2, 2), 4, 17), draw_noising((4, 256, 2, 2), 3, 18)):
        assert not torch.equal(other.noise, whole.noise)
    assert not torch.equal(whole.noise[0], whole.noise[1])


def test_timesteps_are_uniform_between_20_and_980_inclusive() -> None:
    drawn = draw_noising((30_000, 1, 1, 1), 0, 0).timesteps
    assert int(drawn.min()) == 20
    assert int(drawn.max()) == 980
    assert float(drawn.double().mean()) == pytest.approx(500, abs=6)


def test_rows_that_do_not_fit_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows for a batch of 2"):
        draw_noising(SHAPE, 0, 0, range(3))


def test_bf16_weights_of_the_unet_do_not_change_the_dtype_of_the_loss(gle: Gle) -> None:
    gle.bfloat16()
    restored = torch.randn(SHAPE, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = distribution_matching_loss(gle, restored, draw())
    assert loss.dtype == torch.float32
    loss.backward()
    assert restored.grad is not None
    assert bool(restored.grad.isfinite().all())
