"""LoRA's update, added to the weights it adapts: W + (alpha / r) B A."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from glesam_export.rewrites.static_gle import StaticGle, shared_copy


def merge_lora(gle: StaticGle) -> StaticGle:
    """Replaces every adapted layer by a plain one that computes the same."""
    merged = shared_copy(gle)
    for parent, name, layer in list(_adapted_layers(merged)):
        setattr(parent, name, merged_layer(layer))
    return merged


def _adapted_layers(module: nn.Module) -> Iterator[tuple[nn.Module, str, LoraLayer]]:
    for parent in module.modules():
        if not isinstance(parent, LoraLayer):
            for name, child in parent.named_children():
                if isinstance(child, LoraLayer):
                    yield parent, name, child


def merged_layer(layer: LoraLayer) -> nn.Module:
    """The base layer (Linear or Conv2d) with the weight W + (alpha / r) B A and the base's bias."""
    plain: nn.Module = shared_copy(layer.get_base_layer())
    weight = plain.get_parameter("weight").detach()
    for scaling, down, up in lora_factors(layer):
        weight = weight + scaling * torch.tensordot(up.flatten(1), down, dims=1)
    plain.register_parameter("weight", nn.Parameter(weight, requires_grad=False))
    return plain


def lora_factors(layer: LoraLayer) -> Iterator[tuple[float, Tensor, Tensor]]:
    """(alpha / r, A, B) of each active adapter.

    Linear: A [r, in], B [out, r]. Conv: A [r, in, k, k] has the layer's stride and padding,
    B [out, r, 1, 1].
    """
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:
            down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            yield float(layer.scaling[adapter]), down.detach(), up.detach()
