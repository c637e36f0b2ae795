"""Two adapter sets and the bare base share one U-Net without disturbing each other's training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from glesam.config import tiny
from glesam.gle import Gle
from glesam.training.adapters import (
    DEFAULT,
    STUDENT,
    adapter,
    adapter_parameters,
    add_student,
    enable_checkpointing,
    remove_student,
    selected,
)


@pytest.fixture
def gle() -> Gle:
    """Stage 1's: the base is frozen; the student's factors are not zero, so that it differs."""
    torch.manual_seed(0)
    gle = Gle(tiny().gle)
    gle.get_buffer("text_embedding").normal_()
    for name, parameter in gle.named_parameters():
        parameter.requires_grad_("lora_" in name)
    add_student(gle)
    with torch.no_grad():
        for name in (DEFAULT, STUDENT):
            for parameter in adapter_parameters(gle, name):
                parameter.normal_(std=0.1)
    return gle


def embeddings() -> Tensor:
    return torch.randn(1, 256, 8, 8, generator=torch.Generator().manual_seed(1))


def flags(module: nn.Module) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def gradients(parameters: list[nn.Parameter]) -> list[Tensor | None]:
    actual = [None if p.grad is None else p.grad.clone() for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return actual


@torch.no_grad()
def test_each_set_is_another_function_and_none_is_the_base(gle: Gle) -> None:
    x = embeddings()
    own = gle.predict_noise(x)
    with adapter(gle.unet, STUDENT):
        student = gle.predict_noise(x)
    with adapter(gle.unet, None):
        teacher = gle.predict_noise(x)
    assert not torch.allclose(own, student)
    assert not torch.allclose(own, teacher)
    assert not torch.allclose(student, teacher)
    torch.testing.assert_close(gle.predict_noise(x), own)
    for parameter in adapter_parameters(gle, DEFAULT):
        parameter.zero_()
    torch.testing.assert_close(gle.predict_noise(x), teacher)


def test_selecting_a_set_leaves_every_flag_as_it_was_even_after_an_error(gle: Gle) -> None:
    next(iter(adapter_parameters(gle, DEFAULT))).requires_grad_(False)
    before = flags(gle)
    for name in (STUDENT, None, DEFAULT):
        with pytest.raises(RuntimeError), adapter(gle.unet, name):
            assert selected(gle.unet) == name
            assert flags(gle) == before
            raise RuntimeError
        assert flags(gle) == before
        assert selected(gle.unet) == DEFAULT


def test_selections_nest(gle: Gle) -> None:
    with adapter(gle.unet, None):
        with adapter(gle.unet, STUDENT):
            assert selected(gle.unet) == STUDENT
        assert selected(gle.unet) is None
    assert selected(gle.unet) == DEFAULT


def test_a_student_is_trainable_starts_as_the_base_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    gle = Gle(tiny().gle).requires_grad_(False)
    before, names = flags(gle), set(gle.state_dict())
    add_student(gle)
    student = adapter_parameters(gle, STUDENT)
    assert len(student) == len(adapter_parameters(gle, DEFAULT)) > 0
    assert all(parameter.requires_grad for parameter in student)
    assert {name: flag for name, flag in flags(gle).items() if f".{STUDENT}." not in name} == before
    with torch.no_grad(), adapter(gle.unet, STUDENT):
        x = embeddings()
        actual = gle.predict_noise(x)
    with torch.no_grad(), adapter(gle.unet, None):
        torch.testing.assert_close(gle.predict_noise(x), actual)
    remove_student(gle)
    assert set(gle.state_dict()) == names
    assert flags(gle) == before
    assert selected(gle.unet) == DEFAULT


@pytest.mark.parametrize("name", [DEFAULT, STUDENT])
def test_checkpointing_recomputes_with_the_set_of_the_forward_pass(gle: Gle, name: str) -> None:
    own, other = (adapter_parameters(gle, n) for n in ((DEFAULT, STUDENT) if name == DEFAULT
                                                       else (STUDENT, DEFAULT)))  # fmt: skip
    gle.train()

    def backward(between: Callable[[], object]) -> tuple[Tensor, list[Tensor | None]]:
        x = embeddings().requires_grad_()
        with adapter(gle.unet, name):
            loss = gle.predict_noise(x).square().mean()
        between()
        loss.backward()
        assert all(parameter.grad is None for parameter in other)
        assert x.grad is not None
        return x.grad, gradients(own)

    plain = backward(lambda: None)
    enable_checkpointing(gle.unet)
    assert gle.unet.is_gradient_checkpointing
    checkpointed = backward(lambda: None)
    torch.testing.assert_close(checkpointed, plain)
