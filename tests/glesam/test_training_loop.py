"""A run that was interrupted ends with the weights it would have ended with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import Tensor, nn

from glesam.training.checkpoint import Identity, fingerprint
from glesam.training.loop import LoopConfig, Losses, Player, learning_rate, train, train_players
from glesam.training.watch import Lines, Moment
from glesam_runtime.errors import CheckpointError

CONFIG = LoopConfig(steps=7, lr=0.05, warmup=3, save_every=2, report_every=2, seed=11)
AVERAGED = replace(CONFIG, average=0.3)


def small() -> nn.Sequential:
    """With running statistics and dropout: state and chance."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).train()


def silent(_: Moment) -> None:
    pass


def batches(steps: range) -> Iterator[Tensor]:
    for step in steps:
        yield torch.randn(16, 4, generator=torch.Generator().manual_seed(step))


def losses_of(model: nn.Module) -> object:
    def losses(batch: Tensor) -> Losses:
        error = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        return {"loss": error, "twice": 2 * error}

    return losses


def run(model: nn.Module, checkpoint: Path, config: LoopConfig = CONFIG, report: object = None) -> list[str]:
    lines: list[str] = []
    train(model, batches, losses_of(model), config, checkpoint, Lines(report or lines.append))  # type: ignore[arg-type]
    return lines


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def last(checkpoint: Path) -> nn.Module:
    """With the weights after the last step, averaged or not."""
    model = small()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["module"])
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("average", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6])
def test_interrupted_and_resumed_is_bit_equal_to_uninterrupted(
    tmp_path: Path, steps: int, average: float
) -> None:
    """The interruption comes in step `steps` (counted from 0), wherever the last checkpoint was."""
    config = replace(CONFIG, average=average)
    whole, first, resumed = small(), small(), small()
    run(whole, tmp_path / "whole.pt", config)

    def interrupted(wanted: range) -> Iterator[Tensor]:
        for step, batch in zip(wanted, batches(wanted), strict=True):
            if step == steps:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        train(first, interrupted, losses_of(first), config, tmp_path / "cut.pt", silent)  # type: ignore[arg-type]
    assert (tmp_path / "cut.pt").exists() == (steps >= 2)
    torch.manual_seed(99)
    torch.rand(3)
    run(resumed, tmp_path / "cut.pt", config)
    assert same(resumed, whole)


def test_a_run_with_an_average_ends_with_the_moving_average_of_its_weights(tmp_path: Path) -> None:
    """Computed by hand: young averages forget faster, and running statistics are averaged too."""
    model = small()
    after: list[dict[str, Tensor]] = []

    def seen(steps: range) -> Iterator[Tensor]:
        for step, batch in zip(steps, batches(steps), strict=True):
            if step > 0:
                after.append(snapshot(model))
            yield batch

    train(model, seen, losses_of(model), AVERAGED, tmp_path / "run.pt", silent)  # type: ignore[arg-type]
    after.append(snapshot(last(tmp_path / "run.pt")))
    assert len(after) == CONFIG.steps
    expected = after[0]
    for updates, now in enumerate(after[1:], 1):
        kept = min(0.3, (1 + updates) / (10 + updates))
        expected = {name: kept * expected[name] + (1 - kept) * now[name] for name in now}
    actual = snapshot(model)
    for name in actual.keys() - {"1.num_batches_tracked"}:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(actual[name], after[-1][name]), name
    assert actual["1.num_batches_tracked"] == CONFIG.steps


def test_an_average_leaves_the_training_itself_as_it_is(tmp_path: Path) -> None:
    run(small(), tmp_path / "plain.pt")
    run(small(), tmp_path / "averaged.pt", AVERAGED)
    assert same(last(tmp_path / "plain.pt"), last(tmp_path / "averaged.pt"))


def test_an_average_with_a_longer_memory_than_the_run_forgets_its_first_steps(tmp_path: Path) -> None:
    """A plain average of this decay would still be 97 % of the weight after the first of 30 steps."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    config = LoopConfig(30, lr=1.0, warmup=0, weight_decay=0, schedule="constant", average=0.999)
    train(model, batches, lambda _: {"loss": -model.weight.sum()}, config, tmp_path / "run.pt", silent)
    assert 25 < float(model.weight.detach()) < 29, "the weight has gone up by 1 a step"


def test_a_checkpoint_holds_the_average_of_what_is_trained_alone(tmp_path: Path) -> None:
    model = small()
    model[0].requires_grad_(False)
    run(model, tmp_path / "run.pt", AVERAGED)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert saved["averaged"].keys() == {"n_averaged", *(f"module.{name}" for name in saved["module"])}
    assert "0.weight" not in saved["module"]


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    for config in (CONFIG, AVERAGED):
        model, again, path = small(), small(), tmp_path / f"{config.average}.pt"
        lines = run(model, path, config)
        assert [line.split()[1] for line in lines] == ["2/7", "4/7", "6/7", "7/7"]
        assert run(again, path, config) == []
        assert same(again, model)


def test_an_interrupted_save_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(), tmp_path / "run.pt", LoopConfig(steps=2, lr=0.1))
    before = (tmp_path / "run.pt").read_bytes()

    def killed(_: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(small(), tmp_path / "run.pt", LoopConfig(steps=4, lr=0.1))
    assert (tmp_path / "run.pt").read_bytes() == before


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    model = small()
    model[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(model, tmp_path / "run.pt")
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"3.weight", "3.bias", "1.weight"} <= changed
    assert not {"0.weight", "0.bias"} & changed


def test_reports_are_means_since_the_last_report(tmp_path: Path) -> None:
    values = iter([1.0, 3.0, 10.0, 20.0])
    model = nn.Linear(1, 1)

    def losses(batch: Tensor) -> Losses:
        return {"loss": model(batch[:, :1]).mean() * 0 + next(values)}

    lines: list[str] = []
    config = LoopConfig(steps=4, lr=0.1, report_every=2)
    train(model, batches, losses, config, tmp_path / "name.pt", Lines(lines.append))
    assert [line.split("  ")[:2] for line in lines] == [
        ["name 2/4", "loss 2.0000"],
        ["name 4/4", "loss 15.0000"],
    ]


def test_large_gradients_are_clipped(tmp_path: Path) -> None:
    norms = []
    model = nn.Linear(2, 1, bias=False)
    config = LoopConfig(steps=1, lr=0.1, clip=0.5)

    def losses(_: Tensor) -> Losses:
        return {"loss": 1000 * model.weight.sum()}

    train(model, batches, losses, config, tmp_path / "run.pt", silent)
    assert model.weight.grad is not None
    norms.append(float(model.weight.grad.norm()))
    assert norms == [pytest.approx(0.5, rel=1e-4)]


def test_the_rate_warms_up_evenly_then_falls_as_half_a_cosine() -> None:
    config = LoopConfig(steps=110, lr=2.0, warmup=10)
    rates = [learning_rate(config, step) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(2.0 * 0.51)
    assert rates[110] == pytest.approx(2.0 * 0.02)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_a_run_shorter_than_its_warm_up_is_fine() -> None:
    config = LoopConfig(steps=5, lr=1.0, warmup=100)
    assert [learning_rate(config, step) for step in range(5)] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    config = LoopConfig(steps=100, lr=2.0, warmup=4, schedule="constant")
    assert [learning_rate(config, step) for step in (0, 3, 4, 99)] == [0.5, 2.0, 2.0, 2.0]


def test_adams_decay_reaches_the_gradient_and_adamws_does_not(tmp_path: Path) -> None:
    """Without a gradient, Adam's first step is the whole rate and AdamW's rate x decay x weight."""
    actual = {}
    for kind in ("adam", "adamw"):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 0.5)
        config = LoopConfig(steps=1, lr=0.1, warmup=0, weight_decay=0.01, optimizer=kind)  # type: ignore[arg-type]
        train(
            model, batches, lambda _, m=model: {"loss": 0 * m.weight.sum()}, config, tmp_path / kind, silent
        )
        actual[kind] = float(model.weight.detach())
    assert actual == {"adam": pytest.approx(0.4, abs=1e-4), "adamw": pytest.approx(0.4995, abs=1e-6)}


def test_players_train_their_own_parameters_as_often_as_they_should(tmp_path: Path) -> None:
    both = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    seen: list[str] = []

    def losses(index: int) -> Callable[[Tensor], Losses]:
        def of(_: Tensor) -> Losses:
            seen.append("gc"[index])
            return {"loss": both[0].weight.sum() + both[1].weight.sum()}

        return of

    before = [float(part.weight.detach()) for part in both]
    players = [
        Player(list(both[0].parameters()), losses(0), every=3),
        Player(list(both[1].parameters()), losses(1), prefix="critic_"),
    ]
    config = LoopConfig(steps=5, lr=0.01, warmup=0, weight_decay=0, schedule="constant")
    sent: list[Moment] = []
    train_players(both, batches, players, config, tmp_path / "run.pt", sent.append)
    moved = [then - float(part.weight.detach()) for then, part in zip(before, both, strict=True)]
    assert "".join(seen) == "gcccgcc"
    assert moved == pytest.approx([0.02, 0.05], rel=1e-3)
    assert sent[-1].means is not None
    assert sent[-1].means.keys() == {"loss", "critic_loss"}


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    model = nn.Linear(4, 1)
    values = iter([1.0, 1.0, float("nan"), 1.0])
    config = LoopConfig(steps=4, lr=0.1, save_every=2, report_every=100)
    with pytest.raises(ValueError, match="run: loss has become nan by step 4; lower the learning rate"):
        train(
            model,
            batches,
            lambda x: {"loss": model(x).mean() + next(values)},
            config,
            tmp_path / "run.pt",
            silent,
        )
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("bytes", "cannot read .* as a training checkpoint"),
        ("format", "cannot read .* as a training checkpoint"),
        ("model", r"is of another model: 0.weight is \[8, 4\] there, \[8, 5\] here"),
        ("identity", "is of a run whose data was a, but now data is b; choose another folder"),
    ],
)
def test_a_file_that_is_not_this_runs_checkpoint_is_refused_and_kept(
    tmp_path: Path, damage: str, message: str
) -> None:
    path = tmp_path / "run.pt"
    first = small()
    train(first, batches, losses_of(first), CONFIG, path, silent, identity=Identity({"data": "a"}))  # type: ignore[arg-type]
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    if damage == "format":
        torch.save({"step": 3}, path)
    before = path.read_bytes()
    model = nn.Sequential(nn.Linear(5, 8), *small()[1:]) if damage == "model" else small()
    now = Identity({"data": "b" if damage == "identity" else "a"})
    with pytest.raises(CheckpointError, match=message):
        train(model, batches, losses_of(model), CONFIG, path, silent, identity=now)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_what_may_differ_does_not_stop_a_run(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    run(small(), path)
    changed = Identity({"save_every": 5}, may_differ=frozenset({"save_every"}))
    train(small(), batches, losses_of(small()), CONFIG, path, silent, identity=changed)  # type: ignore[arg-type]


def test_a_finished_run_is_known_again_by_its_weights(tmp_path: Path) -> None:
    """A moving average makes 0.0 of a frozen -0.0, which a run that is read again still has."""

    def finished() -> str:
        model = small()
        with torch.no_grad():
            model[0].weight.fill_(-0.0).requires_grad_(False)
        run(model, tmp_path / "run.pt", replace(CONFIG, steps=12, average=0.9))  # until the average is slow
        return fingerprint(model.requires_grad_(False), "")

    assert finished() == finished()
