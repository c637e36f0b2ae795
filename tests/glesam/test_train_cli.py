"""glesam-train's stages: one after the other, resumed, shared among processes, refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import SETTINGS, trained_model
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.model import GleSam
from glesam.official.decoder import load_decoder
from glesam.official.lora import load_lora
from glesam.training.session import Session

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained_model().save_pretrained(folder)
    return folder


def settings(folder: Path, stage: int, **values: object) -> Path:
    path = folder / f"stage{stage}.json"
    path.write_text(json.dumps({"stage": stage, **SETTINGS, **values}))
    return path


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--threads", "1"])
    return result.exit_code, result.stdout, result.stderr


def scalars(run: Path, stage: str) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run / "tensorboard" / stage))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_stage_1_then_stage_2_write_models_and_the_official_files(
    data: Path, model: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    config = settings(tmp_path, 1, pictures_every=2)
    code, stdout, stderr = invoke("--config", config, "--data", data, "--run", one, "--model", model)
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[0] == f"47 training pictures; checkpoints in {one}"
    assert [line.split()[:2] for line in lines[1:4]] == [["stage1", f"{step}/3"] for step in (1, 2, 3)]
    assert lines[4] == f"wrote {one}/model; next: glesam-export {one}/model --precision fp16"
    config = settings(tmp_path, 2)
    code, _, stderr = invoke(
        "--stage", 2, "--config", config, "--data", data, "--run", two, "--model", one / "model"
    )
    assert (code, stderr) == (0, "")
    before, after = (GleSam.from_pretrained(run / "model") for run in (one, two))
    other = trained_model()
    load_lora(other, one / "model" / "pytorch_lora_weights.safetensors")
    load_decoder(other, two / "model" / "ft-decoder.pth")
    assert all(torch.equal(t, after.state_dict()[n]) for n, t in other.state_dict().items())
    assert not torch.equal(before.mask_decoder.kernels.weight, after.mask_decoder.kernels.weight)
    written = load_file(one / "model" / "pytorch_lora_weights.safetensors")
    assert all(name.startswith("unet.") for name in written)
    assert [step for step, _ in scalars(one, "stage1")["loss"]] == [1, 2, 3]


def test_a_run_resumes_with_more_steps_only_with_resume(data: Path, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--data", data, "--run", run, "--model", model]
    assert invoke("--config", settings(tmp_path, 2, steps=1), *arguments)[0] == 0
    longer = settings(tmp_path, 2, steps=2)
    code, _, stderr = invoke("--config", longer, *arguments)
    assert code == 2
    assert stderr.splitlines() == [
        f"error: {run}/stage2.pt is of a run whose steps was 1, but now steps is 2; "
        "choose another folder for this run, or the settings of that one; with --resume steps may change"
    ]
    code, stdout, _ = invoke("--config", longer, *arguments, "--resume")
    assert code == 0
    assert [line.split()[1] for line in stdout.splitlines() if line.startswith("stage2")] == ["2/2"]
    assert [step for step, _ in scalars(run, "stage2")["loss"]] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "3"], "stage is 3; expected 1 or 2"),
        (["--stage", "1"], "a stage trains a model that exists: give --model CHECKPOINT; glesam-convert"),
        (["--stage", "1", "--model", "{tmp}/nowhere"], "no folder {tmp}/nowhere"),
        (["--model", "{model}"], "a model to train was given, but not how; expected nano"),
        ([], "nothing to train: expected nano (glesam-train nano --data DIR), or --stage 1"),
        (["micro"], "'micro': expected nano, the one model that is trained from scratch"),
        (["nano", "--stage", "1", "--model", "{model}"], "leave out --stage, --config, --model, --teacher"),
        (["--settings"], "--settings: expected --stage 1 or --stage 2 with it, found None"),
        (["--config", "{tmp}/nowhere.json"], "{tmp}/nowhere.json"),
        (["--config", "{tmp}/fp16.json", "--model", "{model}"], "fp16, which is for GPUs, and there is none"),
        (["--config", "{tmp}/odd.json", "--model", "{model}"], "unknown key 'odd'"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_line(
    data: Path, model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "fp16.json").write_text('{"stage": 1, "mixed_precision": "fp16"}')
    (tmp_path / "odd.json").write_text('{"stage": 1, "odd": 1}')
    values = {"model": model, "tmp": tmp_path}
    filled = [argument.format(**values) for argument in arguments]
    code, stdout, stderr = invoke("--data", data, "--run", tmp_path / "run", *filled)
    (line,) = stderr.splitlines()
    assert (code, stdout) == (2, "")
    assert line.startswith("error: ")
    assert message.format(**values) in line
    assert not (tmp_path / "run").exists()


def test_data_is_needed(tmp_path: Path) -> None:
    code, stdout, stderr = invoke("nano", "--run", tmp_path / "run")
    assert (code, stdout, stderr) == (2, "", "error: no pictures to train on; give --data DIR\n")


def test_settings_are_listed_without_data() -> None:
    code, stdout, _ = invoke("--stage", 2, "--settings")
    assert code == 0
    assert "\nlr " in stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stage": 2, "lr": 0.1, "lr": 0.2}', "expected JSON: key 'lr' is there twice"),
        ("[" * 100_000, "expected JSON: maximum recursion depth exceeded"),
    ],
)
def test_settings_that_are_not_what_they_seem_are_refused(
    data: Path, model: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "odd.json").write_text(text)
    code, _, stderr = invoke("--config", tmp_path / "odd.json", "--data", data, "--model", model)
    (line,) = stderr.splitlines()
    assert code == 2
    assert message in line


def test_folders_where_results_cannot_go_are_refused_before_training(
    data: Path, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a\nfile"
    file.touch()
    arguments = ["--config", settings(tmp_path, 2), "--data", data, "--model", model]
    for place in (["--run", file], ["--run", tmp_path / "run", "--out", file]):
        code, stdout, stderr = invoke(*arguments, *place)
        (line,) = stderr.splitlines()
        assert (code, stdout) == (2, "")
        assert "a\\nfile: expected a folder, found a file; choose another name" in line
    before = (model / "model.safetensors").read_bytes()
    code, stdout, stderr = invoke(*arguments, "--run", tmp_path / "run", "--out", model)
    assert (code, stdout) == (2, "")
    assert "is the folder of --model, which is kept; choose another" in stderr
    assert (model / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_in_progress_is_left_alone(data: Path, model: Path, tmp_path: Path, count: int) -> None:
    """All processes of a second run end at once; none waits for the others."""
    run = tmp_path / "run"
    arguments = ["--config", settings(tmp_path, 2, steps=1), "--data", data, "--run", run, "--model", model]
    run.mkdir()
    (run / ".stage2.pt.1.partial").touch()
    with FileLock(run / ".lock"):
        assert [code for code, _ in ended(count, *arguments)] == [2] * count
    assert sorted(path.name for path in run.iterdir()) == [".lock", ".stage2.pt.1.partial"]
    code, _, stderr = invoke(*arguments)
    assert (code, stderr) == (0, "")
    assert not list(run.glob(".*.partial")), "what a killed run left"


def free_port() -> int:
    with socket.socket() as actual:
        actual.bind(("127.0.0.1", 0))
        return int(actual.getsockname()[1])


def ended(count: int, *arguments: object) -> list[tuple[int, str]]:
    """Exit status and output of glesam-train in as many processes, started as torchrun and accelerate do."""
    if count == 1:
        return [invoke(*arguments)[:2]]
    common = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, "-m", "glesam.cli.train", *map(str, arguments), "--threads", "1"]
    started = []
    for rank in range(count):
        variables = common | {"RANK": rank, "LOCAL_RANK": rank}
        env = os.environ | {name: str(value) for name, value in variables.items()}
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=120)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        (1, {"distribution_matching": 1.0, "gan": 5e-3, "generator_every": 2, "clean_share": 0.5}),
        (2, {"feedback_share": 0.5, "prompts": "both", "optimizer": "adamw"}),
        (2, {"views": 5, "raw_share": 0.5, "optimizer": "adamw"}),
    ],
)
def test_two_processes_have_the_losses_of_one(
    data: Path, model: Path, tmp_path: Path, stage: int, options: dict[str, object]
) -> None:
    config = settings(tmp_path, stage, batch_size=4, **options)
    runs = {count: tmp_path / f"{count}" for count in (1, 2)}
    for count, run in runs.items():
        arguments = ["--config", config, "--data", data, "--run", run, "--model", model]
        outcomes = [(code, output.count("wrote ")) for code, output in ended(count, *arguments)]
        assert outcomes == [(0, 1), (0, 0)][:count]
    alone, together = (scalars(run, f"stage{stage}") for run in runs.values())
    assert alone.keys() == together.keys()
    assert len(alone) >= (6 if stage == 1 else 3)
    for name, values in alone.items():
        assert together[name] == [(step, pytest.approx(value, rel=2e-3)) for step, value in values], name
    one, two = (GleSam.from_pretrained(run / "model").state_dict() for run in runs.values())
    for name, tensor in one.items():
        assert float((two[name].float() - tensor.float()).abs().mean()) < 2e-5, name


def test_training_from_scratch_is_refused_to_several_processes(data: Path, tmp_path: Path) -> None:
    two: Any = SimpleNamespace(num_processes=2)
    with pytest.raises(ValueError, match="expected one process, found 2; start it without a launcher"):
        Session(data, None, tmp_path / "run", tmp_path / "out", two).from_scratch()
    assert not (tmp_path / "run").exists()
