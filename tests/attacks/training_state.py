"""A small training run's checkpoint, which hostile ones are made from and which reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from glesam.training.checkpoint import Checkpoint


def checkpoint_at(path: Path) -> Checkpoint:
    """Returns the checkpoint of one layer, its optimizer after a step, and its moving average."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return Checkpoint(path, layer, [optimizer], averaged=AveragedModel(layer))
