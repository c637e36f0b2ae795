"""Checkpoints of a training run: written whole or not at all, and loaded only by the run that wrote them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from glesam.official.weights import check_floats, check_plain
from glesam.tensor_output import refused_writes
from glesam_runtime.errors import CheckpointError, first_line
from glesam_runtime.image_io.file_kinds import stand_in
from glesam_runtime.output import replaced_file

FORMAT = 4
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
                f"{path} is of a run whose {key} was {saved.get(key)}, but now {key} is {value}; "
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
        try:
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                check_optimizer(optimizer, saved)
            self._restore(state)
            return int(state["step"])
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{self.path} does not hold the state of this run's optimizers ({first_line(error)}); "
                "choose another folder for this run, or remove the file to train this stage anew"
            ) from error

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


def check_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Raises ValueError where a moment is not of its parameter's shape, which torch notices a step later."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, moments in saved["state"].items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.ndim and moment.shape != parameters[index].shape:
                shape = list(parameters[index].shape)
                raise ValueError(f"{name} of parameter {index} is {list(moment.shape)}, expected {shape}")


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """All parameters that are trained, and all buffers (running statistics)."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def read_state(path: Path) -> dict[str, Any]:
    """Reads what `Checkpoint.save` wrote; nothing but tensors and plain values is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format"]
        if version == FORMAT and not _is_named(state["module"]):
            raise TypeError("a module's tensors have names")
    except Exception as error:  # zip, pickle and the OS each raise their own
        found = stand_in(path)
        reason = f"found {found}" if found else type(error).__name__
        raise CheckpointError(
            f"cannot read {path} as a training checkpoint ({reason}); "
            "choose another folder for this run, or remove the file to train this stage anew"
        ) from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, this glesam reads {FORMAT}; train this stage anew"
        )
    return dict(state)


def _is_named(tensors: object) -> bool:
    """True for tensors by name."""
    return isinstance(tensors, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    )


def fingerprint(module: nn.Module, config: str) -> str:
    """Hash of a model's configuration, frozen parameters and buffers: 16 hexadecimal digits.

    Each tensor counts with its name, shape and some elements; what is trained does not count.
    """
    digest = hashlib.sha256(config.encode())
    frozen = [(name, p.detach()) for name, p in module.named_parameters() if not p.requires_grad]
    for name, tensor in [*frozen, *module.named_buffers()]:
        flat = tensor.flatten()
        sample = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].float().cpu().numpy()
        digest.update(f"{name} {list(tensor.shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:16]
