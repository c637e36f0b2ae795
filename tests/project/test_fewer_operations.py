"""benchmarks/fewer_operations.py trains, times and measures its students, and resumes; here at 64 px."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import typer
from benchmark_modules import benchmark
from tiny_model import random_nano
from typer.testing import CliRunner

from glesam.evaluation.results import COLUMNS
from glesam.model import GleSam

STUDENTS = ["without mid block", "half width"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures with a square each."""
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    mask = np.zeros((80, 96), np.uint8)
    mask[20:60, 30:70] = 255
    for name in ("a", "b"):
        cv2.imwrite(
            str(tmp_path / "data/images" / f"{name}.jpg"), mask[..., None] // 2 + np.full(3, 60, np.uint8)
        )
        cv2.imwrite(str(tmp_path / "data/masks" / f"{name}.png"), mask)
    return tmp_path / "data"


def glesam_eval(command: list[str], check: bool) -> None:
    """Writes the results.csv of an evaluation that measures every source: .9 clean, .5 at LQ-3."""
    out = Path(command[-1].removeprefix("--out="))
    out.mkdir(parents=True, exist_ok=True)
    lines = [",".join(COLUMNS[:12])]
    for word in command:
        if word.startswith("--checkpoint="):
            name, _, rest = word.removeprefix("--checkpoint=").partition("=")
            path, _, methods = rest.rpartition(":")
            assert (Path(path) / "model.safetensors").exists()
            for level, iou in (("clean", 0.9), ("3", 0.5)):
                lines += [f'a,x,box,{level},"{name}",{m},1,0,{iou},0,{iou / 2},0' for m in methods.split(",")]
    (out / "results.csv").write_text("\n".join(lines))


def test_students_are_trained_timed_and_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("fewer_operations")
    monkeypatch.setattr(benchmark("harness.record"), "REPOSITORY", tmp_path)
    monkeypatch.setattr(benchmark("harness.evaluated"), "subprocess", SimpleNamespace(run=glesam_eval))
    teacher = random_nano(lora_rank=0)
    teacher.save_pretrained(tmp_path / "teacher")
    app = typer.Typer()
    app.command()(module.main)
    timed, times = dict[str, GleSam](), module.times

    def times_of(models: dict[str, GleSam], *rest: object) -> dict[str, float]:
        if timed:  # the second run
            return dict.fromkeys(models, 1.0)
        timed.update(models)
        return dict(times(models, *rest))

    monkeypatch.setattr(module, "times", times_of)
    only = [word for name in STUDENTS for word in ("--only", name)]
    options = [
        "--model",
        tmp_path / "teacher",
        "--out",
        tmp_path / "out",
        "--steps",
        1,
        "--batch",
        1,
        "--rounds",
        1,
    ]
    words = [str(word) for word in (data, data, *options, *only)]
    for _ in range(2):  # the second time all students are trained already
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    state = timed["nano"].state_dict()
    assert all(torch.equal(t, state[name]) for name, t in teacher.state_dict().items()), "it is not trained"
    record = json.loads(next((tmp_path / "out/measurements").rglob("*.json")).read_text())
    rows = {row["gle"]: row for row in record["figures"]}
    assert list(rows) == [
        "GLE off",
        "nano",
        "without mid block, untrained",
        "without mid block",
        "half width",
    ]
    assert rows["GLE off"]["gflop"] == 0 and rows["nano"]["ms"] > 0
    assert rows["half width"]["parameters_m"] < 0.4 * rows["nano"]["parameters_m"]
    assert rows["half width"]["lq3_boundary_iou"] == 0.25
    untrained, trained = (GleSam.from_pretrained(tmp_path / "out" / f"{STUDENTS[0]}{end}" / "model")
                          for end in (", untrained", ""))  # fmt: skip
    changed = {
        name for name, t in untrained.state_dict().items() if not torch.equal(t, trained.state_dict()[name])
    }
    assert changed and all(name.startswith("gle.unet.") for name in changed)
    assert not any("mid_block" in name for name in trained.state_dict())


class Moved(torch.nn.Module):
    """A model that knows whether it was last moved to the CPU."""

    is_on_cpu = False

    def cpu(self) -> Moved:
        self.is_on_cpu = True
        return self


def test_student_and_teacher_come_back_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next student is made from the teacher's model, and all are timed on the CPU."""
    module, student, teacher = benchmark("fewer_operations"), Moved(), Moved()
    monkeypatch.setattr(module, "make_accelerator", lambda _: None)
    monkeypatch.setattr(module, "ready", lambda model, *_: model)
    monkeypatch.setattr(module, "train_stage", lambda *_: None)
    assert module.trained(student, teacher, None, module.settings(1, 1, 4.0), tmp_path) is student
    assert student.is_on_cpu and teacher.is_on_cpu
