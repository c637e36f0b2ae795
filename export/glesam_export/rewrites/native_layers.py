"""Layers in the form that runtimes recognize: native layer norms, and batch norms inside convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d, layer_norm, pad

from glesam.nano.efficientnet_lite import FrozenNormConv
from glesam.sam_modules import LayerNorm2d
from glesam_export.rewrites.static_gle import constant, shared_copy


class NativeLayerNorm2d(nn.Module):
    """SAM's LayerNorm2d as one LayerNormalization over the channels, last in memory.

    SAM writes it out with a square, which overflows in fp16 and which TensorRT does not recognize as a
    norm (a ViT-B loses 66 points of top-1 that way on Orin Nano).
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight = norm.get_parameter("weight")
        self.bias = norm.get_parameter("bias")
        self.eps: float = norm.eps  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] in and out."""
        last = layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


class PlainConv(nn.Module):
    """`FrozenNormConv` with the norm's scale in its weight; the exporter makes one Conv of it."""

    def __init__(self, conv: FrozenNormConv) -> None:
        super().__init__()
        self.weight, self.bias = constant(conv.scaled_weight()), conv.bias
        self.stride, self.groups = conv.stride, conv.groups
        self.padding = (conv.before, conv.after, conv.before, conv.after)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return conv2d(pad(x, self.padding), self.weight, self.bias, self.stride, groups=self.groups)


def for_export(module: nn.Module) -> nn.Module:
    """A copy, sharing its tensors, with native LayerNorm2d and with frozen norms folded into convolutions."""
    copy = shared_copy(module)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, NativeLayerNorm2d(child))
            elif isinstance(child, FrozenNormConv):
                setattr(parent, name, PlainConv(child))
    return copy
