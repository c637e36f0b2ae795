"""One resumable training loop for every stage.

Batches, chance and learning rates are functions of the step, so a checkpoint is the step, the trained
weights and the optimizer: nothing else has to be restored for a resumed run to go on as if it had
never stopped.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

BatchT = TypeVar("BatchT")
Losses = dict[str, Tensor]
"""Named scalars; "loss" is minimized, the others are only reported."""


@dataclass(frozen=True)
class LoopConfig:
    """AdamW. `clip` bounds the gradient norm; the rate warms up, then falls as a half cosine."""

    steps: int
    lr: float
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 10.0
    save_every: int = 100
    report_every: int = 25
    seed: int = 0


def learning_rate(config: LoopConfig, step: int) -> float:
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


def train(
    module: nn.Module,
    batches: Callable[[range], Iterator[BatchT]],
    losses: Callable[[BatchT], Losses],
    config: LoopConfig,
    checkpoint: Path,
    report: Callable[[str], None] = print,
) -> None:
    """Trains `module`'s parameters that require a gradient, from `checkpoint` on if it exists.

    Args:
        module: holds everything that is trained (and its buffers, saved along).
        batches: yields the batch of each step of a range.
        losses: one training step's losses.
        checkpoint: file, replaced atomically every `save_every` steps and at the end.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    start = load_checkpoint(checkpoint, module, optimizer)
    meter = Meter(checkpoint.stem, config, start, report)
    for step, batch in zip(range(start, config.steps), batches(range(start, config.steps)), strict=True):
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        values = losses(batch)
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, config.clip)
        optimizer.step()
        meter.add(step, values)
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_checkpoint(checkpoint, module, optimizer, step + 1)


class Meter:
    """Means of the reported losses, one line every `report_every` steps."""

    def __init__(self, name: str, config: LoopConfig, start: int, report: Callable[[str], None]) -> None:
        self.name, self.config, self.report = name, config, report
        self.sums: dict[str, float] = {}
        self.first, self.since = start, time.monotonic()

    def add(self, step: int, values: Losses) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach())
        count = step + 1 - self.first
        if (step + 1) % self.config.report_every and step + 1 < self.config.steps:
            return
        means = "  ".join(f"{key} {total / count:.4f}" for key, total in self.sums.items())
        seconds = (time.monotonic() - self.since) / count
        self.report(f"{self.name} {step + 1}/{self.config.steps}  {means}  {seconds:.2f} s/step")
        self.sums, self.first, self.since = {}, step + 1, time.monotonic()


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state: dict[str, Any] = {
        "step": step,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restores a checkpoint where there is one; returns the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
