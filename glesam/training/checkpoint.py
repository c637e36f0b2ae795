"""Checkpoints of a training run: written whole or not at all, and loaded only by the run that wrote them."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from glesam.file_limits import check_weights_file, is_archive
from glesam.official.weights import check_floats, check_plain
from glesam.tensor_output import refused_writes
from glesam_runtime.errors import CheckpointError, first_line
from glesam_runtime.image_io.file_kinds import stand_in
from glesam_runtime.output import replaced_file

FORMAT = 5
"""Version of the file; format 4 had one rate for all parameters of an optimizer."""
SAMPLED = 64
"""Elements of each tensor that a fingerprint reads: a U-Net of 3.4 GB in a moment."""


@dataclass(frozen=True)
class Identity:
    """The settings that distinguish one run from another: names and plain values.

    Those in `may_differ` may have changed since a checkpoint was written. Those in `on_request` may have
    changed where the user says --resume.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    may_differ: frozenset[str] = frozenset()
    on_request: frozenset[str] = frozenset()

    def check(self, path: Path, saved: Mapping[str, Any]) -> None:
        """Raises CheckpointError where the checkpoint at `path` is of another run."""
        for key, value in self.values.items():
            if saved.get(key) == value or key in self.may_differ:
                continue
            hint = f"; with --resume {key} may change" if key in self.on_request else ""
            raise CheckpointError(
                f"{path} is of a run whose {key} was {_text(saved.get(key))}, but now {key} is {value}; "
                f"choose another folder for this run, or the settings of that one{hint}"
            )


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of a run, and what is saved in it.

    Batches, chance and learning rates are functions of the step, so that the step is the state of the
    sampler and of the random generators. Frozen parameters are not saved: they belong to the model that the
    run began with, whose fingerprint `identity` should hold. `averaged` is the moving average
    of `module`, where the run has one.
    """

    path: Path
    module: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    scaler: Any = None
    identity: Identity = Identity()
    averaged: AveragedModel | None = None

    def save(self, step: int) -> None:
        """Replaces the file; a run that is killed meanwhile keeps the one before. Raises OSError."""
        state = {
            "format": FORMAT,
            "step": step,
            "module": trained_state(self.module),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "identity": dict(self.identity.values),
            "averaged": trained_state(self.averaged) if self.averaged else {},
        }
        with replaced_file(self.path) as partial, refused_writes(self.path), partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def load(self) -> int:
        """Restores the run where there is a file; returns the step to resume from.

        Raises:
            CheckpointError: unreadable, or of another run or model.
        """
        if not self.path.exists():
            return 0
        state = read_state(self.path)
        self.identity.check(self.path, state["identity"])
        self.check_tensors(state["module"])
        self.check_averaged(state["averaged"])
        self.check_optimizers(state["optimizers"])
        try:
            self._restore(state)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{self.path} does not hold the state of this run ({first_line(error)}); "
                "choose another folder for this run, or remove the file to train this stage anew"
            ) from error
        return int(state["step"])

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"], strict=False)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"], strict=False)

    def check_tensors(self, saved: Mapping[str, Tensor]) -> None:
        """Raises CheckpointError where names, shapes or values are not those of what is trained."""
        own = trained_state(self.module)
        for name in sorted(own.keys() | saved.keys()):
            shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (saved, own)]
            if shapes[0] != shapes[1]:
                raise CheckpointError(
                    f"{self.path} is of another model: {name} is {shapes[0]} there, {shapes[1]} here; "
                    "choose another folder for this run"
                )
        check_plain(saved, self.path)
        check_floats(saved, own, self.path)

    def check_averaged(self, saved: Mapping[str, Tensor]) -> None:
        """Raises CheckpointError where the moving average has values that are no finite floats."""
        if self.averaged:
            check_plain(saved, self.path)
            check_floats(saved, trained_state(self.averaged), self.path)

    def check_optimizers(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Raises CheckpointError where states are of other parameters: torch would fail at the next step."""
        fits = len(saved) == len(self.optimizers) and all(
            _fits(optimizer, state) for optimizer, state in zip(self.optimizers, saved, strict=True)
        )
        if not fits:
            raise CheckpointError(
                f"{self.path}: its optimizers are not those of this run; choose another folder for this run, "
                "or remove the file to train this stage anew"
            )
        moments = {
            f"state {index} of optimizer {number}: {name}": value
            for number, optimizer in enumerate(saved)
            for index, state in optimizer["state"].items()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        check_plain(moments, self.path)
        check_floats(moments, moments, self.path)


def _fits(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> bool:
    """Returns whether a saved state has this optimizer's groups, and tensors of its parameters' shapes."""
    own = optimizer.state_dict()["param_groups"]
    groups, states = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(states, Mapping) or len(groups) != len(own):
        return False
    for group, like in zip(groups, own, strict=True):
        if not isinstance(group, Mapping) or group.keys() != like.keys() or group["params"] != like["params"]:
            return False
        if not all(_is_kin(group[name], value) for name, value in like.items()):
            return False
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return all(
        index in range(len(parameters))
        and isinstance(state, Mapping)
        and all(
            isinstance(value, Tensor) and value.shape in (parameters[index].shape, ())
            for value in state.values()
        )
        for index, state in states.items()
    )


def _is_kin(saved: object, own: object) -> bool:
    """Returns whether a saved setting is of one's own kind: a finite number for a number."""
    if isinstance(own, int | float) and not isinstance(own, bool):
        return isinstance(saved, int | float) and math.isfinite(saved)
    return isinstance(own, Tensor | type(None)) or isinstance(saved, type(own))


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """All parameters that are trained, and all buffers (running statistics)."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def read_state(path: Path) -> dict[str, Any]:
    """Reads what `Checkpoint.save` wrote; nothing but tensors and plain values is unpickled."""
    check_weights_file(path)
    try:
        is_archive(path)  # or it raises
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version, beside the one line of ours
            state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format"]
    except Exception as error:  # zip, pickle and the OS each raise their own
        found = stand_in(path)
        reason = f"found {found}" if found else type(error).__name__
        raise CheckpointError(
            f"cannot read {path} as a training checkpoint ({reason}); "
            "choose another folder for this run, or remove the file to train this stage anew"
        ) from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {_text(version)}, this glesam reads {FORMAT}; train this stage anew"
        )
    if not _is_state(state):
        raise CheckpointError(
            f"{path} holds something else than a training checkpoint; choose another folder for this run, "
            "or remove the file to train this stage anew"
        )
    return dict(state)


def _text(value: object) -> str:
    """Returns a plain value, or a list of a few, as text; of any other, which might be endless, the type."""
    several = value if isinstance(value, list | tuple) else [value]
    plain = len(several) <= 8 and all(one is None or isinstance(one, str | int | float) for one in several)
    return str(value)[:80] if plain else f"a {type(value).__name__}"


def _is_state(state: Mapping[str, Any]) -> bool:
    """Returns whether a file holds what `Checkpoint.save` writes, by types."""
    kinds = {
        "step": int,
        "module": dict,
        "optimizers": list,
        "scaler": dict,
        "identity": dict,
        "averaged": dict,
    }
    if not all(isinstance(state.get(name), kind) for name, kind in kinds.items()) or state["step"] < 0:
        return False
    named = [*state["module"].items(), *state["averaged"].items()]
    return (
        all(isinstance(name, str) and isinstance(value, Tensor) for name, value in named)
        and all(isinstance(name, str) for name in state["identity"])
        and all(isinstance(each, dict) for each in state["optimizers"])
    )


def fingerprint(module: nn.Module, config: str) -> str:
    """Hash of a model's configuration, frozen parameters and buffers: 16 hexadecimal digits.

    Each tensor counts with its name, shape and some elements; what is trained does not count. -0.0 counts as
    0.0, which a moving average makes of it.
    """
    digest = hashlib.sha256(config.encode())
    frozen = [(name, p.detach()) for name, p in module.named_parameters() if not p.requires_grad]
    for name, tensor in [*frozen, *module.named_buffers()]:
        flat = tensor.flatten()
        sample = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].float().cpu().numpy() + 0.0
        digest.update(f"{name} {list(tensor.shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:16]
