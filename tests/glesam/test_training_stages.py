"""Each stage trains what it should, learns, and the whole recipe can be killed and resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import RECIPE, STAGES, fresh_accelerate, small_config, small_model, trained_model
from torch import Tensor, nn
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.data.batches import Batch, BatchPlan, SamplePool, make_batch
from glesam.model import GleSam
from glesam.nano.recipe import Run, train_model
from glesam.training.loop import Losses
from glesam.training.mask_loss import no_masks
from glesam.training.session import precision_of
from glesam.training.stage_losses import decoder_losses, embeddings_of, gle_losses, select_lora
from glesam.training.watch import Lines, Moment
from glesam_runtime.errors import CheckpointError

PLAN = BatchPlan(size=2, image_size=64, seed=0, objects_per_image=2, with_degraded=True)


@pytest.fixture(scope="module")
def batch(pool: SamplePool) -> Batch:
    return make_batch(pool, PLAN, 0)


def descends(losses: Callable[[], Losses], trained: list[nn.Parameter], lr: float, steps: int = 12) -> bool:
    """Whether a few steps on one batch, always with the same chance, lower the loss."""
    optimizer = torch.optim.Adam(trained, lr=lr)
    values = []
    for _ in range(steps):
        torch.manual_seed(1)
        loss = losses()["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values[-1] < 0.97 * values[0]


def with_gradient(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_the_gle_stage_trains_lora_alone_and_learns(batch: Batch) -> None:
    model = trained_model()
    select_lora(model)
    lora = [p for p in model.parameters() if p.requires_grad]
    assert descends(lambda: gle_losses(model, batch), lora, 3e-3)
    actual, adapted = with_gradient(model), {n for n, _ in model.named_parameters() if "lora_" in n}
    assert actual <= adapted
    alone = {n for n in adapted - actual if ".mid_block." not in n or not re.search("attn1.to_[qk]", n)}
    assert not alone, "only the mid block's single token has nothing to attend to but itself"


def test_gle_minimizes_the_papers_squared_error(batch: Batch) -> None:
    model = trained_model()
    damaged, clean = embeddings_of(model, batch)
    gamma = model.gle.gamma
    expected = (gamma * model.enhance(damaged) - gamma * clean).square().mean()
    losses = gle_losses(model, batch)
    torch.testing.assert_close(losses["loss"], expected)


def test_prompts_picture_by_picture_are_each_answered_from_its_own_picture(batch: Batch) -> None:
    """Two embeddings with two prompts each: the second picture's masks do not depend on the first one."""
    model = trained_model()
    embeddings, _ = embeddings_of(model, batch)
    prompts = batch.point_coords, batch.point_labels
    together, _ = model.decode(embeddings, *prompts, *no_masks(embeddings, 4))
    second, _ = model.decode(embeddings[1:], *(x[2:] for x in prompts), *no_masks(embeddings, 2))
    torch.testing.assert_close(together[2:], second, rtol=1e-4, atol=1e-4)


def test_the_decoder_stage_reaches_neither_encoder_nor_gle_and_learns(batch: Batch) -> None:
    model = small_model().eval()
    decoder = list(model.mask_decoder.parameters())
    assert descends(lambda: decoder_losses(model, batch), decoder, 1e-3)
    assert {name.split(".")[0] for name in with_gradient(model)} <= {"mask_decoder", "prompt_encoder"}


def test_a_clean_row_has_the_clean_pictures_embedding(pool: SamplePool) -> None:
    model = small_model().eval()
    clean_only = make_batch(pool, replace(PLAN, clean_share=1.0), 0)
    torch.testing.assert_close(*embeddings_of(model, clean_only))
    damaged, clean = embeddings_of(model, make_batch(pool, replace(PLAN, clean_share=0.0), 0))
    assert not any(torch.equal(a, b) for a, b in zip(damaged, clean, strict=True))


def state(model: GleSam) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: GleSam) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def silent(_: Moment) -> None:
    pass


@pytest.fixture(scope="module")
def trained(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run."""
    model = small_model()
    run = tmp_path_factory.mktemp("run")
    train_model(model, pool, Run(run, silent), RECIPE)
    assert not model.training
    (statistics,) = (path.stem for path in run.glob("statistics-*.safetensors"))
    assert sorted(path.stem for path in run.iterdir()) == sorted([*STAGES, "views", statistics])
    return state(model)


@pytest.mark.parametrize(
    "line", ["sam 1/2", "sam 2/2", "views 3/3", "prior 2/2", "restore 1/2", "joint 2/2", "tune 1/2"]
)
def test_a_recipe_that_is_killed_and_resumed_ends_with_the_same_weights(
    trained: dict[str, Tensor], pool: SamplePool, tmp_path: Path, line: str
) -> None:
    def kill(reported: str) -> None:
        if reported.startswith(line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(small_model(), pool, Run(tmp_path, Lines(kill)), RECIPE)
    resumed = small_model()
    train_model(resumed, pool, Run(tmp_path, silent), RECIPE)
    assert changed(trained, resumed) == set()


def ended_with(checkpoint: Path) -> dict[str, Tensor]:
    """The weights that a stage handed on: the averaged ones where it had such."""
    state = torch.load(checkpoint, weights_only=True)
    actual = state["averaged"] or state["module"]
    return {name.removeprefix("module."): tensor for name, tensor in actual.items() if name != "n_averaged"}


def invoke(*arguments: object) -> tuple[int, str, str]:
    with fresh_accelerate():
        result = CliRunner().invoke(app, [*map(str, arguments), "--threads", "1"])
    return result.exit_code, result.stdout, result.stderr


def test_glesam_train_writes_a_checkpoint_that_loads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam.training.session.nano", small_config)
    monkeypatch.setattr("glesam.training.session.NANO", RECIPE)
    out = tmp_path / "my model"
    code, stdout, stderr = invoke("nano", "--data", data, "--run", tmp_path / "run", "--out", out)
    assert (code, stderr) == (0, "")
    assert [line.split()[0] for line in stdout.splitlines() if "2/2" in line] == list(STAGES)
    assert stdout.splitlines()[-1] == f"wrote {out}; next: glesam-export '{out}' --precision fp16"
    loaded = GleSam.from_pretrained(out)
    checkpoint = ended_with(tmp_path / "run" / "tune.pt")
    parts = dict(loaded.named_children())
    del parts["prompt_encoder"]
    for key, expected in checkpoint.items():
        part, _, name = key.partition(".")
        assert torch.equal(parts[part].state_dict()[name], expected.half().to(expected.dtype)), key
    assert {key.partition(".")[0] for key in checkpoint} == set(parts)


NO_DATA = {
    "no folder": "no such folder; expected one of data sets",
    "no set": "no pictures in ",
    "no label map": "it has no mask; expected ",
}


@pytest.mark.parametrize("damage", NO_DATA)
def test_glesam_train_without_its_data_is_one_line(data: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "data"
    if damage != "no folder":
        (folder / "bsds500").mkdir(parents=True)
    if damage == "no label map":
        for i in range(12):
            (folder / "bsds500" / f"{i}.jpg").write_bytes(next(data.rglob("*.jpg")).read_bytes())
    code, stdout, stderr = invoke(
        "nano", "--data", folder, "--run", tmp_path / "run", "--out", tmp_path / "out"
    )
    (line,) = stderr.splitlines()
    assert code == 2
    assert stdout == ""
    assert line.startswith("error: ")
    assert str(folder) in line
    assert NO_DATA[damage] in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("feature", ["", "avx512_bf16", "amx_tile"])
def test_nano_trains_in_bf16_only_where_the_cpu_multiplies_in_it(
    feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose views are encoded goes on in their precision, on another machine too."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for each in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{each}_supported", lambda each=each: each == feature)
    assert precision_of(tmp_path) == ("bf16" if feature else "no")
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "views.json").write_text('{"mixed_precision": "bf16"}')
    assert precision_of(tmp_path) == "bf16"
    (tmp_path / "views" / "views.json").write_text('{"mixed_precision": ["fp8"]}')
    with pytest.raises(CheckpointError, match=r"of no, fp16, bf16, found \['fp8'\]; delete .*views, and"):
        precision_of(tmp_path)
