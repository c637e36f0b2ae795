"""Stage 1 with a teacher: a smaller GLE comes nearer to it, learns as a whole, and resumes; or is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tiny_training import SETTINGS, trained_model
from torch import Tensor
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.config import TwoWayDecoderConfig
from glesam.data.batches import SamplePool, make_batch
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.smaller_gle import Reduction, smaller_gle
from glesam.training.stage_config import GleStageConfig, StageConfig, parse_stage_config
from glesam.training.stage_losses import embeddings_of
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.teacher import distilled_losses, open_teacher, teacher_error
from glesam.training.watch import Lines
from glesam_runtime.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def big() -> GleSam:
    """The teacher's model: its adapters are far from zero, so that what they do is seen."""
    model = trained_model(TwoWayDecoderConfig(64))
    with torch.no_grad():
        for name, parameter in model.gle.named_parameters():
            if "lora_B" in name:
                parameter.mul_(5)
    return model


def small() -> GleSam:
    """The student: the same without attention at the finest level, and without a mid block."""
    return smaller_gle(big(), Reduction(levels_without_attention=1, mid_block="none"))


@cache
def teacher() -> Gle:
    return big().gle.eval().requires_grad_(False)


def settings(**values: object) -> GleStageConfig:
    config = parse_stage_config(json.dumps({**SETTINGS, **values}), 1, "settings")
    assert isinstance(config, GleStageConfig)
    return config


class Killed(Exception):
    pass


def run(
    pool: SamplePool, folder: Path, config: StageConfig, student: GleSam, kill: int | None = None,
    taught_by: Gle | None = None,
) -> GleSam:  # fmt: skip
    def line(text: str) -> None:
        if kill is not None and f" {kill}/" in text:
            raise Killed

    accelerator, taught_by = Accelerator(), taught_by or teacher()
    model = ready(student, config, accelerator, taught_by)
    train_stage(model, pool, config, StageRun(folder, accelerator, Lines(line), teacher=taught_by))
    return model


def state(model: GleSam) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_the_loss_is_the_papers_and_the_weighted_distance_to_the_teacher(pool: SamplePool) -> None:
    student = small()
    batch = make_batch(pool, settings().plan(student.config.sam), 0)
    damaged, clean = embeddings_of(student, batch)
    gamma, restored = student.gle.gamma, student.enhance(damaged)
    to_clean = (gamma * restored - gamma * clean).square().mean()
    to_teacher = (gamma * restored - gamma * teacher()(damaged)).square().mean()
    losses = distilled_losses(student, batch, teacher(), 3.0)
    torch.testing.assert_close(losses["loss"], to_clean + 3 * to_teacher)
    torch.testing.assert_close(losses["teacher"], to_teacher)
    losses["loss"].backward()
    assert not any(parameter.grad is not None for parameter in teacher().parameters())


def test_a_smaller_gle_comes_nearer_to_its_teacher_and_learns_as_a_whole(
    pool: SamplePool, tmp_path: Path
) -> None:
    """All but the convolutions that CRE widened, of which the adapters learn; other adapters stay."""
    config = settings(steps=12, lr=3e-4, teacher_weight=100.0)
    student = small()
    before, taught_before = state(student), {n: t.clone() for n, t in teacher().state_dict().items()}
    batch = make_batch(pool, config.plan(student.config.sam), 1000)
    damaged, _ = embeddings_of(student, batch)

    def distance(model: GleSam) -> float:
        with torch.no_grad():
            return float(teacher_error(model.enhance(damaged), damaged, teacher(), model.gle.gamma))

    far = distance(student)
    trained = run(pool, tmp_path, config, student)
    assert distance(trained) < 0.6 * far
    actual = changed(before, state(trained))
    assert all(name.startswith("gle.unet.") for name in actual)
    ends = ("gle.unet.conv_in.", "gle.unet.conv_out.")
    assert {name for name in actual if "lora_" in name} == {
        name for name in before if "lora_" in name and name.startswith(ends)
    }
    own = {n for n in before if n.startswith("gle.unet.") and "lora_" not in n and not n.startswith(ends)}
    still = own - actual
    assert all("attn2.to_" in name or "attn1.to_" in name for name in still), sorted(still)
    assert all(torch.equal(t, taught_before[n]) for n, t in teacher().state_dict().items())


def test_a_student_with_its_teachers_unet_trains_its_adapters_alone(pool: SamplePool, tmp_path: Path) -> None:
    student = trained_model(TwoWayDecoderConfig(64))
    before = state(student)
    actual = changed(before, state(run(pool, tmp_path, settings(), student)))
    assert actual
    assert all(name.startswith("gle.unet.") and "lora_" in name for name in actual)


def test_a_smaller_gle_without_adapters_needs_none_and_can_save_memory(
    pool: SamplePool, tmp_path: Path
) -> None:
    model = small()
    gle = replace(model.config.gle, lora_rank=0, channel_expansion=False)
    whole = GleSam(replace(model.config, gle=gle))
    kept = {name.replace("base_layer.", ""): tensor for name, tensor in model.state_dict().items()}
    whole.load_state_dict({name: kept[name] for name in whole.state_dict()})
    plain = state(run(pool, tmp_path / "a", settings(steps=2), whole))
    whole.load_state_dict({name: kept[name] for name in whole.state_dict()})
    recomputed = state(run(pool, tmp_path / "b", settings(steps=2, gradient_checkpointing=True), whole))
    for name, tensor in plain.items():
        torch.testing.assert_close(recomputed[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_run_that_is_killed_resumes_with_its_teacher_and_with_no_other(
    pool: SamplePool, tmp_path: Path
) -> None:
    config = settings(teacher_weight=2.0)
    whole = state(run(pool, tmp_path / "whole", config, small()))
    with pytest.raises(Killed):
        run(pool, tmp_path / "cut", config, small(), kill=2)
    other = big().gle.eval().requires_grad_(False)
    with torch.no_grad():
        other.unet.conv_norm_out.weight.mul_(2)
    with pytest.raises(CheckpointError, match=r"is of a run whose teacher was [0-9a-f]{16}, but now"):
        run(pool, tmp_path / "cut", config, small(), taught_by=other)
    assert changed(whole, state(run(pool, tmp_path / "cut", config, small()))) == set()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints: a teacher, its smaller student, and two whose embeddings are others."""
    root = tmp_path_factory.mktemp("teachers")
    models = {"big": big(), "small": small(), "other": big(), "larger": big(), "merged": small()}
    merged = replace(models["merged"].config.gle, lora_rank=0)
    models["merged"] = GleSam(replace(models["merged"].config, gle=merged))
    models["merged"].image_encoder.load_state_dict(models["big"].image_encoder.state_dict())
    with torch.no_grad():
        next(models["other"].image_encoder.parameters()).mul_(1.01)
    models["larger"].config = replace(
        models["larger"].config, sam=replace(models["larger"].config.sam, image_size=128)
    )
    for name, model in models.items():
        model.save_pretrained(root / name)
    return {name: root / name for name in models}


def glesam_train(data: Path, config: dict[str, object], *arguments: object) -> tuple[int, str, list[str]]:
    path = data.parent / f"stage-{abs(hash(str(config)))}.json"
    path.write_text(json.dumps({**SETTINGS, **config}))
    words = ["--config", path, "--data", data, "--threads", 1, *arguments]
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.stdout, result.stderr.splitlines()


def test_glesam_train_writes_the_student_and_no_file_of_adapters(
    data: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--model", folders["small"], "--teacher", folders["big"], "--run", tmp_path]
    (tmp_path / "model").mkdir()
    for name in ("pytorch_lora_weights.safetensors", "ft-decoder.pth"):
        (tmp_path / "model" / name).write_bytes(b"of an earlier run")
    code, stdout, stderr = glesam_train(data, {"stage": 1, "steps": 1}, *words)
    assert (code, stderr) == (0, [])
    assert "teacher 0." in stdout
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    student = GleSam.from_pretrained(tmp_path / "model")
    assert student.config == GleSam.from_pretrained(folders["small"]).config


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ({"stage": 1}, ["--teacher", "{other}"], "the weights of its image encoder are not the model's"),
        ({"stage": 1}, ["--teacher", "{larger}"], "at 128 px, the model a tiny at 64 px; expected a teacher"),
        ({"stage": 1}, ["--teacher", "{small}/no"], "no folder {small}/no"),
        ({"stage": 2}, ["--teacher", "{big}"], "--teacher is for --stage 1; leave it out"),
        ({"stage": 1, "gan": 0.1}, ["--teacher", "{big}"], "have a teacher of their own, the U-Net without"),
        ({"stage": 1}, ["--model", "{merged}", "--teacher", "{big}"], "this model has none; set lora_rank"),
        ({"stage": 1}, ["--teacher", "{big}", "--out", "{big}"], "is the folder of --teacher, which is kept"),
        ({"stage": 1, "teacher_weight": 0}, ["--teacher", "{big}"], "teacher_weight"),
        ({"stage": 1, "gan": 0.1}, [], "gan: its discriminator reads the U-Net's mid block"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_one_line(
    data: Path, folders: dict[str, Path], tmp_path: Path, config: dict[str, object], arguments: list[str],
    message: str,
) -> None:  # fmt: skip
    values = {name: str(path) for name, path in folders.items()}
    filled = [argument.format(**values) for argument in arguments]
    words = ["--model", folders["small"], "--run", tmp_path / "run", *filled]
    code, _, stderr = glesam_train(data, config, *words)
    (line,) = stderr
    assert code == 2
    assert line.startswith("error: ")
    assert message.format(**values) in line
    assert not (tmp_path / "run" / "stage1.pt").exists()


def test_a_teacher_is_none_where_none_is_named() -> None:
    assert open_teacher(None, small(), settings()) is None


def test_nano_from_scratch_has_no_teacher(data: Path, folders: dict[str, Path]) -> None:
    words = ["nano", "--data", str(data), "--teacher", str(folders["big"])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "nano is trained from scratch" in result.stderr
