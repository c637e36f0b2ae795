"""GLE's LoRA factors in the authors' file, `pytorch_lora_weights.safetensors`.

The authors' file has the prefix `unet.` and two styles of names:

    unet.<attention projection>.lora.down.weight / .lora.up.weight        256 tensors
    unet.<every other module>.lora_A.weight / .lora_B.weight              304 tensors

There is no alpha in it: whoever reads it presumes alpha = rank, as the official sizes have it
(`glesam.config.official`). A model of another alpha keeps alpha / rank in the B factors of its file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glesam.model import GleSam
from glesam.official.tensor_files import check_fit, read_tensors
from glesam.tensor_output import write_tensors
from glesam_runtime.errors import CheckpointError

ADAPTER = ".default."
ATTENTION = re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)\.lora_[AB]\.")
PREFIXES = ("base_model.model.", "unet.")
"""PEFT's own, and diffusers'; either, both or none."""
BASES = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2.1"}
"""By the width of the text embedding."""


@dataclass(frozen=True)
class LoraKind:
    """What the shapes of a LoRA file tell: its rank, and the width of the text embedding of its base."""

    rank: int
    context: int

    def __str__(self) -> str:
        return f"rank {self.rank} for {base_name(self.context)}"


def base_name(context: int) -> str:
    """The Stable Diffusion version with this width of text embedding."""
    return BASES.get(context, f"a U-Net with text embeddings of {context} channels")


def save_lora(model: GleSam, path: str | Path) -> None:
    """Writes the adapters under the official names, float32; `path` is replaced whole."""
    tensors = {
        official_name(name): (tensor.detach().float() * scale_of(name, model)).cpu().contiguous()
        for name, tensor in lora_parameters(model).items()
    }
    write_tensors(tensors, path)


def load_lora(model: GleSam, path: str | Path) -> None:
    """Reads adapters in place; both styles of names, `.default.` infixes and a missing prefix are known.

    Raises:
        CheckpointError: unreadable, of another rank or base, or not exactly the model's tensors.
    """
    own = lora_parameters(model)
    found = read_lora(path)
    kind, expected = lora_kind(found, path), lora_kind(own, "the model")
    if kind != expected:
        raise CheckpointError(
            f"{path} is a LoRA of {kind}, but the model has {expected}; "
            "choose the U-Net and the lora_rank that the file was trained with"
        )
    check_fit(path, found, own)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(found[name] / scale_of(name, model))


def read_lora(path: str | Path) -> dict[str, Tensor]:
    """A LoRA file's tensors as `<module>.lora_A.weight` and `<module>.lora_B.weight`."""
    found: dict[str, Tensor] = {}
    for key, tensor in read_tensors(path).items():
        name = plain_name(key)
        if name in found:
            raise CheckpointError(f"{path} holds {name} twice, once as {key}; expected each tensor once")
        found[name] = tensor
    return found


def lora_kind(tensors: Mapping[str, Tensor], source: str | Path) -> LoraKind:
    """Of tensors under their plain names; A factors are [rank, inputs] or [rank, inputs, k, k].

    Raises:
        CheckpointError: there is no adapter of a cross-attention key projection among them.
    """
    for name, tensor in tensors.items():
        if name.endswith(".attn2.to_k.lora_A.weight") and tensor.ndim == 2:
            return LoraKind(*tensor.shape)
    raise CheckpointError(
        f"{source} has no tensor ...attn2.to_k.lora_A.weight among its {len(tensors)}; "
        "expected the LoRA factors of a Stable Diffusion U-Net"
    )


def lora_parameters(model: GleSam) -> dict[str, Tensor]:
    """The model's adapter parameters under their plain names."""
    named = model.gle.unet.named_parameters()
    return {plain_name(name): p for name, p in named if ".lora_" in name and ADAPTER in name}


def scale_of(name: str, model: GleSam) -> float:
    """A factor in the file, relative to the one in the model."""
    gle = model.config.gle
    return gle.lora_alpha / gle.lora_rank if ".lora_B." in name else 1.0


def plain_name(key: str) -> str:
    """Any writer's name of a factor -> `<module>.lora_A.weight` or `<module>.lora_B.weight`."""
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    key = key.replace(ADAPTER, ".")
    return key.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def official_name(plain: str) -> str:
    """The authors' name of a factor, from its plain one."""
    if ATTENTION.search(plain):
        plain = plain.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up.")
    return f"unet.{plain}"
