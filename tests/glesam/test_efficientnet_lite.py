"""EfficientNet-Lite against an independent forward pass, with batch norms and TensorFlow's padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, pad

from glesam.nano.efficientnet_lite import EfficientNetLite, FrozenNormConv, blocks_of

LITE0 = [
    (1, 3, 1, 32, 16),
    *[(6, 3, 2, 16, 24), (6, 3, 1, 24, 24)],
    *[(6, 5, 2, 24, 40), (6, 5, 1, 40, 40)],
    *[(6, 3, 2, 40, 80), (6, 3, 1, 80, 80), (6, 3, 1, 80, 80)],
    *[(6, 5, 1, 80, 112), (6, 5, 1, 112, 112), (6, 5, 1, 112, 112)],
    *[(6, 5, 2, 112, 192), (6, 5, 1, 192, 192), (6, 5, 1, 192, 192), (6, 5, 1, 192, 192)],
    (6, 3, 1, 192, 320),
]
"""Expansion, kernel, stride, input and output channels of each block, written out."""

Tensors = dict[str, Tensor]


def random_imagenet() -> Tensors:
    """A state dict as the pip package holds it, in float64."""
    torch.manual_seed(0)
    tensors: Tensors = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        std = (2 / (inputs * kernel * kernel)) ** 0.5
        tensors[f"{conv}.weight"] = std * torch.randn(outputs, inputs, kernel, kernel, dtype=torch.float64)
        tensors[f"{norm}.weight"] = torch.rand(outputs, dtype=torch.float64) + 0.5
        tensors[f"{norm}.bias"] = torch.rand(outputs, dtype=torch.float64)
        tensors[f"{norm}.running_mean"] = 0.3 * torch.randn(outputs, dtype=torch.float64)
        tensors[f"{norm}.running_var"] = torch.rand(outputs, dtype=torch.float64) + 0.5

    add("_conv_stem", "_bn0", 32, 3, 3)
    for i, (expansion, kernel, _, inputs, outputs) in enumerate(LITE0):
        name, inner = f"_blocks.{i}", inputs * expansion
        if expansion > 1:
            add(f"{name}._expand_conv", f"{name}._bn0", inner, inputs, 1)
        add(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, kernel)
        add(f"{name}._project_conv", f"{name}._bn2", outputs, inner, 1)
    return tensors


def same_padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "same": ceil(n / stride) outputs, and the odd pixel of padding behind."""
    widths = []
    for side in (x.shape[-1], x.shape[-2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        widths += [total // 2, total - total // 2]
    return pad(x, widths)


def reference_features(tensors: Tensors, x: Tensor) -> list[Tensor]:
    """The output of every block."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = conv2d(same_padded(x, weight.shape[-1], stride), weight, None, stride, groups=groups)
        statistics = [tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return batch_norm(x, *statistics, eps=1e-3)

    x = layer(x, "_conv_stem", "_bn0", 2).clamp(0, 6)
    outputs = []
    for i, (expansion, _, stride, inputs, channels) in enumerate(LITE0):
        name, inner = f"_blocks.{i}", x
        if expansion > 1:
            inner = layer(inner, f"{name}._expand_conv", f"{name}._bn0").clamp(0, 6)
        inner = layer(inner, f"{name}._depthwise_conv", f"{name}._bn1", stride).clamp(0, 6)
        out = layer(inner, f"{name}._project_conv", f"{name}._bn2")
        x = x + out if stride == 1 and inputs == channels else out
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("side", [64, 96])
@torch.no_grad()
def test_the_features_are_those_of_convolutions_and_batch_norms(side: int) -> None:
    tensors = random_imagenet()
    network = EfficientNetLite("lite0").double().eval()
    network.load_imagenet(tensors)
    image = torch.randn(2, 3, side, side, dtype=torch.float64)
    outputs = reference_features(tensors, image)
    for actual, block, stride in zip(network(image), (2, 4, 10, 15), (4, 8, 16, 32), strict=True):
        assert actual.shape[-1] == side // stride
        torch.testing.assert_close(actual, outputs[block], rtol=1e-11, atol=1e-12)


def test_lite0_has_the_published_blocks_and_parameters() -> None:
    blocks = [(b.expansion, b.kernel, b.stride, b.in_channels, b.out_channels) for b in blocks_of("lite0")]
    assert blocks == LITE0
    network = EfficientNetLite("lite0")
    assert network.channels == (24, 40, 112, 320)
    norms = sum(len(m.bias) for m in network.modules() if isinstance(m, FrozenNormConv))
    classifier = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000  # head, its norm, and the last layer
    weights = sum(p.numel() for p in network.parameters())
    assert weights + norms + classifier == 4_652_008, "of the pip package, without running statistics"


@pytest.mark.parametrize(
    ("variant", "channels"), [("lite1", (24, 40, 112, 320)), ("lite2", (24, 48, 120, 352))]
)
def test_the_larger_variants_are_deeper_and_have_four_strides(
    variant: str, channels: tuple[int, ...]
) -> None:
    assert len(blocks_of(variant)) == 21
    features = EfficientNetLite(variant).eval()(torch.zeros(1, 3, 64, 64))
    assert tuple(f.shape[1] for f in features) == channels
    assert [f.shape[-1] for f in features] == [16, 8, 4, 2]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_fixed_depthwise_filters_have_the_gradients_of_trained_ones(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = FrozenNormConv(6, 6, kernel, stride, groups=6).double().train()
    nn.init.uniform_(conv.get_buffer("scale"), 0.5, 1.5)
    x = torch.randn(2, 6, 12, 16, dtype=torch.float64, requires_grad=True)
    expected = conv(x)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (x, conv.bias), weights)
    conv.weight.requires_grad_(False)
    actual = conv(x)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    for one, other in zip(torch.autograd.grad(actual, (x, conv.bias), weights), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_what_is_frozen_has_no_gradient_and_what_is_trained_has_one() -> None:
    network = EfficientNetLite("lite0")
    trained = {id(parameter) for parameter in network.trained_from(3)}
    for name, parameter in network.named_parameters():
        frozen = name.startswith(("stem", "blocks.0.", "blocks.1.", "blocks.2.")) or (
            name.endswith("depthwise.weight")
        )
        assert parameter.requires_grad == (not frozen) == (id(parameter) in trained), name
