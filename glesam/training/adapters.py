"""Several LoRA adapter sets on one U-Net, so that a teacher and a student cost no second U-Net.

The set that GLE uses is `DEFAULT`. With no set selected the U-Net is its frozen base, the teacher of
distribution matching; `add_student` puts the student's set beside the first. PEFT's own switches also
rewrite `requires_grad`, which would take a set out of training in the middle of a step: `adapter` selects
a set and leaves every flag as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glesam.gle import Gle, lora_config

DEFAULT, STUDENT = "default", "student"
Unet = Any
"""A diffusers U-Net with adapters; diffusers is untyped."""


def lora_layers(unet: Unet) -> Iterator[Any]:
    """The adapted layers of a U-Net."""
    return (module for module in unet.modules() if isinstance(module, LoraLayer))


def add_student(gle: Gle) -> None:
    """Adds the adapter set `STUDENT` of GLE's own rank, all of it trainable; `DEFAULT` stays selected.

    Call it before the optimizers are built and `remove_student` before the model is saved.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in gle.parameters()]
    with warnings.catch_warnings():  # PEFT warns of a second set, which is what is wanted
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        gle.unet.add_adapter(lora_config(gle.config), STUDENT)
    _select(gle.unet, DEFAULT)
    for parameter, flag in flags:
        parameter.requires_grad_(flag)
    for parameter in adapter_parameters(gle, STUDENT):
        parameter.requires_grad_(True)


def remove_student(gle: Gle) -> None:
    """Removes what `add_student` added."""
    flags = [(parameter, parameter.requires_grad) for parameter in gle.parameters()]
    gle.unet.delete_adapters(STUDENT)
    for parameter, flag in flags:
        parameter.requires_grad_(flag)


def adapter_parameters(gle: Gle, name: str) -> list[nn.Parameter]:
    """The LoRA factors of one set."""
    return [p for key, p in gle.unet.named_parameters() if "lora_" in key and f".{name}." in key]


@contextmanager
def adapter(unet: Unet, name: str | None) -> Iterator[None]:
    """Inside the block the U-Net runs with the set `name`, or with None as its frozen base."""
    before = selected(unet)
    _select(unet, name)
    try:
        yield
    finally:
        _select(unet, before)


def selected(unet: Unet) -> str | None:
    """Name of the selected adapter set; None while the U-Net runs without adapters, or has none."""
    layer = next(lora_layers(unet), None)
    return None if layer is None or layer.disable_adapters else str(layer.active_adapters[0])


def _select(unet: Unet, name: str | None) -> None:
    for layer in lora_layers(unet):
        flags = [(parameter, parameter.requires_grad) for parameter in layer.parameters()]
        layer.enable_adapters(True)
        if name is None:
            layer.enable_adapters(False)
        else:
            layer.set_adapter(name)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def enable_checkpointing(unet: Unet) -> None:
    """Gradient checkpointing that recomputes a block with the set it was computed with.

    diffusers' own would recompute the student's blocks with whatever is selected during the backward
    pass, and the gradients would be wrong without an error: the shapes agree.
    """

    def run(module: nn.Module, *args: Tensor) -> Any:  # noqa: ANN401 - a block's output
        name = selected(unet)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), adapter(unet, name)

        return checkpoint(module, *args, use_reentrant=False, context_fn=contexts)

    unet.enable_gradient_checkpointing(run)
