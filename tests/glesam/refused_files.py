"""What a refused file must do: say why in one line, and leave the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glesam.model import GleSam
from glesam_runtime.errors import CheckpointError


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refusal(load: Callable[[GleSam, Path], None], target: GleSam, path: Path) -> str:
    """The message of a refusal that leaves the model unchanged."""
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load(target, path)
    assert equal(before, target.state_dict())
    assert "\n" not in str(caught.value)
    return str(caught.value)
