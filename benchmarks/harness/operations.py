"""Size and work of networks: parameters, and operations as torch counts them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> float:
    """Number of parameters [million]."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@torch.no_grad()
def flops(call: Callable[[], object]) -> float:
    """Operations of a call [GFLOP], two for each multiply-add.

    torch's FlopCounterMode counts convolutions, matrix products and attention, no Fourier transforms.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e9
