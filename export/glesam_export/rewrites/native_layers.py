"""Layers in the form that runtimes recognize: native layer norms, and batch norms inside convolutions."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from glesam.sam_modules import LayerNorm2d
from glesam_export.rewrites.static_gle import shared_copy


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


def for_export(module: nn.Module) -> nn.Module:
    """A copy, sharing its tensors, with native LayerNorm2d and with batch norms folded into convolutions."""
    copy = shared_copy(module)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, NativeLayerNorm2d(child))
        if isinstance(parent, nn.Sequential):
            _fold_batch_norms(parent)
    return copy


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Folds in place. The exporter does it too, but not for a convolution that runs twice."""
    for i, (conv, norm) in enumerate(pairwise(layers)):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(conv.eval(), norm.eval()), nn.Identity()
