"""GLE's LoRA factors in the authors' file, `pytorch_lora_weights.safetensors`.

The authors' file has the prefix `unet.` and two styles of names:

    unet.<attention projection>.lora.down.weight / .lora.up.weight        256 tensors
    unet.<every other module>.lora_A.weight / .lora_B.weight              304 tensors

It holds no alpha: readers assume alpha = rank, as in the official sizes (`glesam.config.official`).
A model with another alpha has alpha / rank multiplied into the B factors of its file. Other writers' files
may state an alpha, which is followed (`glesam.official.lora_alpha`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glesam.model import GleSam
from glesam.official.lora_alpha import alphas_of, factors_of
from glesam.official.tensor_files import check_fit, read_tensors
from glesam.tensor_output import write_tensors
from glesam_runtime.errors import CheckpointError

ADAPTER = ".default."
B_FACTOR = ".lora_B.weight"
ATTENTION = re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)\.lora_[AB]\.")
PREFIXES = ("base_model.model.", "unet.")
"""Prefixes by PEFT and by diffusers; a file has either, both or none."""
BASES = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2.1"}
"""Stable Diffusion by the width of its text embedding."""


@dataclass(frozen=True)
class LoraKind:
    """The rank of a LoRA file and the width of its base's text embedding, read from its shapes."""

    rank: int
    context: int

    def __str__(self) -> str:
        return f"rank {self.rank} for {base_name(self.context)}"


def base_name(context: int) -> str:
    """The Stable Diffusion version with this width of text embedding."""
    return BASES.get(context, f"a U-Net with text embeddings of {context} channels")


def save_lora(model: GleSam, path: str | Path) -> None:
    """Writes the adapters under the official names, float32; `path` is replaced whole.

    Raises:
        CheckpointError: the model has no adapters.
        OSError: the file cannot be written.
    """
    tensors = {
        official_name(name): (tensor.detach().float() * scale_of(name, model)).cpu().contiguous()
        for name, tensor in lora_parameters(model).items()
    }
    write_tensors(tensors, path)


def load_lora(model: GleSam, path: str | Path) -> None:
    """Reads adapters in place; accepts both styles of names, `.default.` infixes and a missing prefix.

    Raises:
        CheckpointError: the file is unreadable, of another rank or base, or does not hold exactly the model's
            tensors.
    """
    own = lora_parameters(model)
    loaded = read_lora(path)
    kind, expected = lora_kind(loaded, path), lora_kind(own, "the model")
    if kind != expected:
        raise CheckpointError(
            f"{path} is a LoRA of {kind}, but the model has {expected}; "
            "choose the U-Net and the lora_rank that the file was trained with"
        )
    factors, alphas = factors_of(loaded), alphas_of(Path(path), loaded)
    check_fit(path, factors, own)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(factors[name] / (scale_of(name, model) / _stated_scale(name, alphas, kind.rank)))


def _stated_scale(name: str, alphas: Mapping[str, float], rank: int) -> float:
    """Factor that the file's alpha puts on a B factor: its product with A counts alpha / rank times."""
    return alphas[name.removesuffix(B_FACTOR)] / rank if name.endswith(B_FACTOR) else 1.0


def read_lora(path: str | Path) -> dict[str, Tensor]:
    """Reads a LoRA file's tensors by plain names: `<module>.lora_A.weight`, `.lora_B.weight`, `.alpha`."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in read_tensors(path).items():
        name = plain_name(key)
        if name in tensors:
            raise CheckpointError(f"{path} holds {name} twice, once as {key}; expected each tensor once")
        tensors[name] = tensor
    return tensors


def lora_kind(tensors: Mapping[str, Tensor], source: str | Path) -> LoraKind:
    """The kind of a LoRA, from tensors under their plain names.

    A factors are [rank, inputs] or [rank, inputs, k, k].

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
    """The model's adapter parameters under their plain names.

    Raises:
        CheckpointError: it has none.
    """
    if not model.config.gle.lora_rank:
        raise CheckpointError(
            f"{model.config.name} has no LoRA adapters (gle.lora_rank is 0 in its config.json); "
            "choose a model that has, or save it whole with save_pretrained"
        )
    named = model.gle.unet.named_parameters()
    return {plain_name(name): p for name, p in named if ".lora_" in name and ADAPTER in name}


def scale_of(name: str, model: GleSam) -> float:
    """Scale of a factor in the file relative to the one in the model."""
    gle = model.config.gle
    return gle.lora_alpha / gle.lora_rank if ".lora_B." in name else 1.0


def plain_name(key: str) -> str:
    """Converts any writer's name of a factor to `<module>.lora_A.weight` or `<module>.lora_B.weight`."""
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    key = key.replace(ADAPTER, ".")
    return key.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def official_name(plain: str) -> str:
    """Converts the plain name of a factor to the authors' name."""
    if ATTENTION.search(plain):
        plain = plain.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up.")
    return f"unet.{plain}"
