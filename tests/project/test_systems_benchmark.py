"""benchmarks/systems.py trains, evaluates and times every system, on networks of the least size."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from accelerate.state import AcceleratorState
from benchmark_modules import benchmark
from PIL import Image
from typer.testing import CliRunner, Result


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its precision for the whole process, and other tests have another one."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of four pictures of two rectangles, 96 x 80; one of them is for development."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    folder = root / "rectangles"
    folder.mkdir()
    description = {"name": "rectangles", "kind": "label_maps", "dev_sequences": ["dev"]}
    (root / "sets.json").write_text(json.dumps([description]))
    labels = np.zeros((80, 96), np.uint8)
    labels[10:50, 8:48], labels[30:76, 52:90] = 1, 2
    for name in ("first", "second", "third", "dev"):
        colours = np.array([40, 120, 210], np.uint8)[labels][..., None]
        noisy = colours + rng.integers(0, 30, (80, 96, 3), np.uint8)
        Image.fromarray(noisy).save(folder / f"{name}.jpg")
        Image.fromarray(labels).save(folder / f"{name}.png")
    return root


def run(data: Path, out: Path, *options: str) -> Result:
    app = typer.Typer()
    app.command()(benchmark("systems").main)
    fixed = [str(data), str(data), "--size", "tiny", "--rounds", "1", "--pictures", "1", "--out", str(out)]
    return CliRunner().invoke(app, [*fixed, *options])


def test_every_system_is_trained_and_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call loads what the first one trained, and refuses another budget in one line."""
    monkeypatch.setattr(benchmark("harness.record"), "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "argv", ["systems.py"])
    out, systems = tmp_path / "systems", benchmark("systems").SYSTEMS
    first = run(data, out, "--steps", "2", "--sam-steps", "3")
    assert first.exit_code == 0, first.output
    (path,) = (tmp_path / "out").rglob("*.json")
    figures = json.loads(path.read_text())["figures"]
    assert [(row["system"], row["pictures"]) for row in figures] == [
        (name, pictures) for pictures in ("seen", "unseen") for name in systems
    ]
    by_name = {row["system"]: row for row in figures}
    for row in figures:
        assert all(0 <= row[f"{level}_{metric}"] <= 1 for level in LEVELS for metric in METRICS)
    costs = {name: (row["parameters_m"], row["gflop"]) for name, row in by_name.items()}
    assert costs["SAM, tuned"] == costs["SAM"]
    for name in ("RobustSAM", "restore, then SAM", "GleSAM", "DDIM"):
        assert all(more > less for more, less in zip(costs[name], costs["SAM"], strict=True)), name
    assert costs["adaptive GLE"][0] > costs["GleSAM"][0]
    assert all(more > less for more, less in zip(costs["GleSAM2"], costs["SAM 2"], strict=True))
    assert {row["encoder"] for row in figures} == {"ViT, 2 blocks, 64 px", "Hiera, 8 blocks, 64 px"}
    checkpoints = {each: each.stat().st_mtime_ns for each in out.rglob("*.pt")}
    assert len(checkpoints) == STAGES

    again = run(data, out, "--steps", "2", "--sam-steps", "4", "--only", "SAM")
    assert again.exit_code == 2 and "whose steps was 3, but now steps is 4" in again.output
    assert {each: each.stat().st_mtime_ns for each in out.rglob("*.pt")} == checkpoints


LEVELS, METRICS = ("clean", "lq1", "lq2", "lq3"), ("iou", "boundary_iou")
STAGES = 15
"""Two of "sam" and of "prior", three of "restore", five of "decoder"; "robust", "restorer" and "level"."""


def test_an_unknown_system_is_refused(data: Path, tmp_path: Path) -> None:
    refused = run(data, tmp_path, "--only", "SAM 3")
    assert refused.exit_code == 2 and "--only SAM 3: expected any of SAM, SAM, tuned" in refused.output
