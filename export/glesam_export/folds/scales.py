"""Constant factors around the U-Net, moved into its first and last convolution."""

from __future__ import annotations

from torch import nn

from glesam_export.rewrites.static_gle import StaticGle, shared_copy
from glesam_runtime.errors import FoldError


def fold_gamma(gle: StaticGle) -> StaticGle:
    """FDA's gamma into conv_in: conv(g z) has the weight g W; the bias stays."""
    folded = shared_copy(gle)
    scale_conv(_convs(folded.unet.conv_in)[0], gle.input_scale, scale_bias=False)
    folded.input_scale = 1.0
    return folded


def fold_noise_scale(gle: StaticGle) -> StaticGle:
    """c = sqrt((1 - abar) / abar) / g into conv_out: weight and bias times c."""
    folded = shared_copy(gle)
    scale_conv(_convs(folded.unet.conv_out)[-1], gle.output_scale, scale_bias=True)
    folded.output_scale = 1.0
    return folded


def _convs(layer: nn.Module) -> list[nn.Conv2d]:
    """The one convolution, or the two that a factoring put in its place."""
    convs = [layer] if isinstance(layer, nn.Conv2d) else list(layer.children())
    plain = [conv for conv in convs if isinstance(conv, nn.Conv2d)]
    if len(plain) != len(convs) or not plain:
        raise FoldError("expected plain convolutions, found LoRA layers; merge_lora comes first")
    return plain


def scale_conv(conv: nn.Conv2d, factor: float, *, scale_bias: bool) -> None:
    """Scales in place, with new parameters: the tensors that the caller's model shares stay as they are."""
    conv.weight = nn.Parameter(conv.weight.detach() * factor, requires_grad=False)
    if scale_bias and conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias.detach() * factor, requires_grad=False)
