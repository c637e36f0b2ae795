"""CRE's 256 channels hold only 4 + r different ones; these folds compute only those.

CRE repeats a 4-channel convolution 64 times and LoRA adds an update of rank r, so the wide
convolution is the product of a narrow and a wide one. The factors are read off the model, not
approximated.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS
from glesam.gle import LATENT_CHANNELS
from glesam_export.folds.lora import lora_factors
from glesam_export.rewrites.static_gle import StaticGle, shared_copy
from glesam_runtime.errors import FoldError

CENTRE = 1
"""Index of the middle tap of a 3x3 kernel."""


def factor_conv_in(gle: StaticGle) -> StaticGle:
    """3x3 256 -> C becomes 3x3 256 -> 4 + r, then 3x3 4 + r -> C.

    The first sums the channels of equal index mod 4 (a centre tap) and applies LoRA's A; the second
    applies the 4-channel kernel to the sums and LoRA's B (a centre tap) to A's output. Zero padding of
    the sums equals the sums of the zero padding, so borders are exact too.
    """
    base, scaling, down, up = _conv_factors(gle.unet.conv_in)
    kernel = _repeated(base.weight.detach(), dim=1, name="conv_in")
    sums = torch.zeros(LATENT_CHANNELS, EMBEDDING_CHANNELS, 3, 3).to(kernel)
    for channel in range(EMBEDDING_CHANNELS):
        sums[channel % LATENT_CHANNELS, channel, CENTRE, CENTRE] = 1
    apply_up = torch.zeros(*up.shape[:2], 3, 3).to(kernel)
    apply_up[:, :, CENTRE, CENTRE] = scaling * up.flatten(1)
    reduce = _conv(torch.cat([sums, down]), None)
    expand = _conv(torch.cat([kernel, apply_up], dim=1), base.bias)
    return _with_conv(gle, "conv_in", reduce, expand)


def factor_conv_out(gle: StaticGle) -> StaticGle:
    """3x3 C -> 256 becomes 3x3 C -> 4 + r, then 1x1 4 + r -> 256.

    The first holds the 4-channel kernel and LoRA's A; the second repeats the four and applies B.
    """
    base, scaling, down, up = _conv_factors(gle.unet.conv_out)
    kernel = _repeated(base.weight.detach(), dim=0, name="conv_out")
    repeat = torch.eye(LATENT_CHANNELS).to(kernel)
    repeat = repeat.repeat(EMBEDDING_CHANNELS // LATENT_CHANNELS, 1)
    widen = torch.cat([repeat, scaling * up.flatten(1)], dim=1)
    reduce = _conv(torch.cat([kernel, down]), None)
    expand = _conv(widen[:, :, None, None], base.bias)
    return _with_conv(gle, "conv_out", reduce, expand)


def _conv_factors(layer: nn.Module) -> tuple[nn.Conv2d, float, Tensor, Tensor]:
    """The base convolution, alpha / r, A and B; without LoRA, A and B of rank 0."""
    if not isinstance(layer, LoraLayer):
        if not isinstance(layer, nn.Conv2d):
            raise FoldError("expected a convolution, found two: it is factored already")
        out_channels, in_channels, height, width = layer.weight.shape
        down = layer.weight.new_zeros(0, in_channels, height, width)
        return layer, 1.0, down, layer.weight.new_zeros(out_channels, 0, 1, 1)
    base = layer.get_base_layer()
    assert isinstance(base, nn.Conv2d)
    factors = list(lora_factors(layer))
    if len(factors) != 1:
        raise FoldError(f"expected one active LoRA adapter, found {len(factors)}; merge the others")
    return base, *factors[0]


def _repeated(weight: Tensor, dim: int, name: str) -> Tensor:
    """The 4-channel kernel that CRE repeated along `dim`."""
    kernel = weight.narrow(dim, 0, LATENT_CHANNELS)
    repeats = [1, 1, 1, 1]
    repeats[dim] = weight.shape[dim] // LATENT_CHANNELS
    if not torch.equal(kernel.repeat(repeats), weight):
        raise FoldError(
            f"{name}: expected CRE's weight, one {LATENT_CHANNELS}-channel kernel repeated; found "
            "channels that differ (was the base U-Net trained after CRE?)"
        )
    return kernel


def _conv(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    out_channels, in_channels, size, _ = weight.shape
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=bias is not None)
    conv.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return conv


def _with_conv(gle: StaticGle, name: str, reduce: nn.Conv2d, expand: nn.Conv2d) -> StaticGle:
    factored = shared_copy(gle)
    layers = OrderedDict[str, nn.Module](reduce=reduce, expand=expand)
    setattr(factored.unet, name, nn.Sequential(layers))
    return factored
