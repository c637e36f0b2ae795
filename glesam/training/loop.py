"""One resumable training loop for every stage, on one process or many.

Batches, chance and learning rates are functions of the step, so a checkpoint is the step, the trained
weights and the optimizers: nothing else has to be restored for a resumed run to end as if it had never
stopped (`glesam.training.checkpoint`).

Processes and precision are accelerate's. Each process computes its rows of a batch, and the gradients
are averaged in one piece before the optimizer's step. DistributedDataParallel would average them in
buckets while the backward pass still runs; what is trained here is megabytes against teraflops of
frozen networks, so there is nothing to gain, and losses stay free to be any function of the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from glesam.training.checkpoint import Checkpoint, Identity
from glesam.training.parallel import BatchT, average_gradients, micro_batches, to_device
from glesam.training.watch import Lines, Moment, Watcher
from glesam_runtime.errors import InputError

Optimizer = Literal["adamw", "adam"]
Schedule = Literal["cosine", "constant"]
Losses = dict[str, Tensor]
"""Named scalars; "loss" is minimized, the others are only reported."""
FLOOR = 0.02
"""Rate at the end of the cosine, relative to `lr`."""
ANY_RUN = Identity()
SEED_STRIDE = 1_000_003
"""Keeps the seeds of two runs' steps apart."""


@dataclass(frozen=True)
class LoopConfig:
    """`clip` bounds the gradient norm. The rate warms up evenly, then stays or falls as a half cosine.

    Every step's rows are worked off in `accumulation` equal parts, one after the other. `average` above 0
    is the decay of a moving average of the weights (`averaged_weights`), which the run ends with.
    """

    steps: int
    lr: float
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 10.0
    save_every: int = 100
    report_every: int = 25
    seed: int = 0
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "cosine"
    accumulation: int = 1
    average: float = 0.0


@dataclass(frozen=True)
class Player(Generic[BatchT]):
    """Parameters and the losses that train them, in every `every`-th step from the first on.

    Each has an optimizer of its own. `prefix` comes before the names of its losses in reports. `slow` are
    further parameters, whose learning rate is `slow_rate` times that of the others.
    """

    parameters: Sequence[nn.Parameter]
    losses: Callable[[BatchT], Losses]
    every: int = 1
    prefix: str = ""
    slow: Sequence[nn.Parameter] = ()
    slow_rate: float = 1.0


def learning_rate(config: LoopConfig, step: int) -> float:
    """The rate of a step, counted from 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (FLOOR + (1 - FLOOR) / 2 * (1 + math.cos(math.pi * done)))


def train(
    module: nn.Module,
    batches: Callable[[range], Iterator[BatchT]],
    losses: Callable[[BatchT], Losses],
    config: LoopConfig,
    checkpoint: Path,
    watch: Watcher = Lines(),  # noqa: B008 - frozen
    accelerator: Accelerator | None = None,
    identity: Identity = ANY_RUN,
) -> None:
    """Trains `module`'s parameters that require a gradient, from `checkpoint` on if it exists.

    Args:
        module: holds everything that is trained (and its buffers, saved along), on the accelerator's device.
        batches: yields the batch of each step of a range, or this process's rows of it; called once, when
            the checkpoint has been accepted.
        losses: one training step's losses.
        checkpoint: file, replaced atomically every `save_every` steps and at the end.
        watch: is called after every step.
        identity: the run's own; a file of another run is refused.

    Raises:
        CheckpointError: the file is unreadable or of another run or model.
        InputError: the loss is not a number any more.
    """
    player = Player([p for p in module.parameters() if p.requires_grad], losses)
    train_players(module, batches, [player], config, checkpoint, watch, accelerator, identity)


def train_players(
    module: nn.Module,
    batches: Callable[[range], Iterator[BatchT]],
    players: Sequence[Player[BatchT]],
    config: LoopConfig,
    checkpoint: Path,
    watch: Watcher,
    accelerator: Accelerator | None = None,
    identity: Identity = ANY_RUN,
) -> None:
    """Trains as `train` does, with several players in turn on the same batches, each a part of `module`."""
    accelerator = accelerator or Accelerator()
    optimizers = [accelerator.prepare_optimizer(build_optimizer(player, config)) for player in players]
    averaged = averaged_weights(module, config.average) if config.average else None
    file = Checkpoint(checkpoint, module, optimizers, accelerator.scaler, identity, averaged)
    start = file.load()
    accelerator.wait_for_everyone()  # nobody saves before everybody has loaded
    steps = range(start, config.steps)
    source = batches(steps)
    meter = Meter(checkpoint.stem, config, start, watch, accelerator)
    for step, batch in zip(steps, source, strict=True):
        parts = micro_batches(batch, config.accumulation)
        values: Losses = {}
        for player, optimizer in zip(players, optimizers, strict=True):
            if step % player.every == 0:
                values |= update(player, optimizer, parts, config, step, accelerator)
        if averaged:
            averaged.update_parameters(module)
        meter.add(step, values)
        done = step + 1
        if accelerator.is_main_process and (done % config.save_every == 0 or done == config.steps):
            file.save(done)
    if averaged:
        module.load_state_dict(averaged.module.state_dict())
    accelerator.free_memory()
    accelerator.wait_for_everyone()


def build_optimizer(player: Player[BatchT], config: LoopConfig) -> torch.optim.Optimizer:
    """The optimizer of a player. Adam adds weight decay to the gradient (coupled), AdamW does not."""
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    groups = [{"params": player.parameters, "rate": 1.0}]
    if player.slow:
        groups.append({"params": player.slow, "rate": player.slow_rate})
    return kind(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def update(
    player: Player[BatchT],
    optimizer: torch.optim.Optimizer,
    parts: Sequence[BatchT],
    config: LoopConfig,
    step: int,
    accelerator: Accelerator,
) -> Losses:
    """Takes one step of one player; returns its losses, means over the parts."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * learning_rate(config, step)
    optimizer.zero_grad()
    sums: Losses = {}
    for part in parts:
        torch.manual_seed(config.seed * SEED_STRIDE + step)  # the same chance for every part and process
        with accelerator.autocast(UNCACHED):
            values = player.losses(to_device(part, accelerator.device))
        accelerator.backward(values["loss"] / len(parts))
        for key, value in values.items():
            name = f"{player.prefix}{key}"
            sums[name] = sums.get(name, 0) + value.detach().float() / len(parts)
    accelerator.unscale_gradients(optimizer)
    trained = [*player.parameters, *player.slow]
    average_gradients(trained, accelerator)
    norm = torch.nn.utils.clip_grad_norm_(trained, config.clip)
    if accelerator.scaler is None and not torch.isfinite(norm):  # fp16's scaler leaves such a step out
        raise InputError(
            f"step {step}: a gradient is not finite, and the weights would be lost with it; lower the "
            "learning rate, or use another mixed_precision (the last checkpoint is of an earlier step)"
        )
    optimizer.step()
    return sums


UNCACHED = AutocastKwargs(cache_enabled=False)
"""autocast caches the low-precision copy of a weight that it made under no_grad, without its gradient, and
would reuse it where a gradient is needed (after a mask fed back, or a critic that runs GLE)."""


def averaged_weights(module: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a run's weights, which lacks the noise of the last steps.

    Returns:
        A copy of `module` that follows it, running statistics included, one `update_parameters` a step.
    """

    def average(own: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not own.is_floating_point():  # a counter
            return current
        return own.lerp(current, 1 - decay_after(int(updates), decay))

    return AveragedModel(module, avg_fn=average, use_buffers=True)


def decay_after(updates: int, decay: float) -> float:
    """Decay after so many steps; young averages forget faster, or a short run would end near its first step.

    (1 + t) / (10 + t), as TensorFlow's ExponentialMovingAverage has it: about the last ninth of the run.
    """
    return min(decay, (1 + updates) / (10 + updates))


class Meter:
    """Means over steps and processes, every `report_every` steps and before every checkpoint."""

    def __init__(
        self, name: str, config: LoopConfig, start: int, watch: Watcher, accelerator: Accelerator
    ) -> None:
        self.name, self.config, self.start, self.accelerator = name, config, start, accelerator
        self.watch = watch if accelerator.is_main_process else lambda _: None
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.last, self.since = start, time.monotonic()

    def add(self, step: int, values: Losses) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0) + value
            self.counts[key] = self.counts.get(key, 0) + 1
        done, steps = step + 1, self.config.steps
        due = done == steps or 0 in (done % self.config.report_every, done % self.config.save_every)
        means = self.means() if due else None
        step_s = (time.monotonic() - self.since) / (done - self.last)
        self.watch(Moment(self.name, done, steps, self.start, means, step_s))
        if means is not None:
            self.refuse_nan(means, done)
            self.sums, self.counts, self.last, self.since = {}, {}, done, time.monotonic()

    def means(self) -> dict[str, float]:
        own = torch.stack([total / self.counts[key] for key, total in self.sums.items()])
        return dict(zip(self.sums, self.accelerator.reduce(own, "mean").tolist(), strict=True))

    def refuse_nan(self, means: Mapping[str, float], done: int) -> None:
        for key, value in means.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{self.name}: {key} has become {value} by step {done}; lower the learning rate, or use "
                    "another mixed_precision (the last checkpoint is of an earlier step)"
                )
