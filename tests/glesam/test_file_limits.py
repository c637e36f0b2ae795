"""Files of weights that would grow in memory, and training checkpoints of something else, are refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glesam import file_limits
from glesam.official.tensor_files import read_tensors
from glesam.training.checkpoint import Checkpoint
from glesam_runtime.errors import CheckpointError

State = dict[str, Any]


def checkpoint(path: Path, features: int = 3) -> Checkpoint:
    """A layer with an optimizer that has made a step."""
    torch.manual_seed(0)
    layer = nn.Linear(features, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, features)).sum().backward()
    optimizer.step()
    return Checkpoint(path, layer, [optimizer])


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2**22)}, tmp_path / "sound.pt")
    with (
        zipfile.ZipFile(tmp_path / "sound.pt") as sound,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in sound.infolist():
            bomb.writestr(entry.filename, sound.read(entry))
    assert read_tensors(tmp_path / "sound.pt")["weight"].shape == (2**22,)
    assert (tmp_path / "bomb.pt").stat().st_size < 2**17
    for read in (read_tensors, lambda path: checkpoint(path).load()):
        with pytest.raises(CheckpointError, match=r"bomb.pt: .* is compressed, which torch.save never does"):
            read(tmp_path / "bomb.pt")


def test_a_file_of_more_than_32_gib_is_refused_unread(tmp_path: Path) -> None:
    for name in ("huge.pt", "huge.safetensors"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**35 + 2**30)  # a hole, which takes no room
        with pytest.raises(CheckpointError, match=r"has 33 GiB; expected weights, at most 32 GiB of them"):
            read_tensors(tmp_path / name)


def test_a_description_of_tensors_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "sound.pt")
    monkeypatch.setattr(file_limits, "MOST_PICKLE_BYTES", 10)
    with pytest.raises(CheckpointError, match=r"data.pkl has 0 MiB; expected tensors, and at most"):
        read_tensors(tmp_path / "sound.pt")


def test_a_training_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint(tmp_path / "stage.pt").save(7)
    assert checkpoint(tmp_path / "stage.pt").load() == 7


def other_shapes(state: State) -> None:
    for values in state["optimizers"][0]["state"].values():
        values["exp_avg"] = values["exp_avg"][..., :1].repeat_interleave(5, -1)


def numbers_as_names(state: State) -> None:
    state["module"] = dict(enumerate(state["module"].values()))


CHANGES: list[Callable[[State], object]] = [
    other_shapes,
    numbers_as_names,
    lambda state: state["module"].update({1: torch.zeros(1)}),
    lambda state: state["module"].update(weight=1.0),
    lambda state: state.update(module=[]),
    lambda state: state.update(step="7"),
    lambda state: state.update(step=-1),
    lambda state: state.pop("optimizers"),
    lambda state: state["optimizers"].clear(),
    lambda state: state["optimizers"].append(state["optimizers"][0]),
    lambda state: state.update(optimizers=[7]),
    lambda state: state["optimizers"][0].pop("state"),
    lambda state: state["optimizers"][0].update(state={99: {}}),
    lambda state: state["optimizers"][0].update(state={"0": {}}),
    lambda state: state["optimizers"][0].update(param_groups=[]),
    lambda state: state["optimizers"][0]["param_groups"][0].update(params=[0]),
    lambda state: state["optimizers"][0]["param_groups"][0].pop("lr"),
    lambda state: state.update(identity={1: 2}),
    lambda state: state.update(averaged=None),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_checkpoint_of_something_else_is_one_line(
    tmp_path: Path, change: Callable[[State], object]
) -> None:
    checkpoint(tmp_path / "stage.pt").save(7)
    state = torch.load(tmp_path / "stage.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "stage.pt")
    with pytest.raises(CheckpointError, match="choose another folder for this run") as caught:
        checkpoint(tmp_path / "stage.pt").load()
    assert "\n" not in str(caught.value)
