"""What each fold removes from the model: tensors, by the layer they belonged to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from torch import nn

WRAPPERS = {"unet", "base_layer", "default"}
"""Parts of a tensor's name that PEFT or a fold adds to or takes from a tensor that stays."""
TENSORS = {"weight", "bias"}


@dataclass(frozen=True)
class FoldReport:
    """How many elements a fold removed and added, and how many layers of each kind it removed."""

    fold: str
    removed: int
    added: int
    layers: Mapping[str, int]

    def __str__(self) -> str:
        layers = ", ".join(f"{count} {kind}" for kind, count in self.layers.items())
        instead = f", {self.added / 1e6:.2f} M in their place" if self.added else ""
        return (
            f"{self.fold}: {self.removed / 1e6:.2f} M parameters removed{instead} ({layers or 'values only'})"
        )


def report_fold(fold: str, before: nn.Module, after: nn.Module) -> FoldReport:
    """Compares two models by the names of their parameters and buffers."""
    old, now = _sizes(before), _sizes(after)
    gone, new = old.keys() - now.keys(), now.keys() - old.keys()
    layers = Counter(_kind(layer) for layer in sorted({_layer(name) for name in gone}))
    return FoldReport(fold, sum(old[n] for n in gone), sum(now[n] for n in new), dict(layers))


def _sizes(module: nn.Module) -> dict[str, int]:
    named = chain(module.named_parameters(), module.named_buffers())
    return {_without(WRAPPERS, name): tensor.numel() for name, tensor in named}


def _layer(name: str) -> str:
    return _without(TENSORS, name)


def _without(parts: set[str], name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in parts)


def _kind(layer: str) -> str:
    """down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k -> attn2.to_k"""
    parts = [part for part in layer.split(".") if not part.isdigit()]
    inside = parts[-2:] if len(parts) > 1 and parts[-2] in ("attn2", "time_embedding") else parts[-1:]
    return ".".join(inside)
