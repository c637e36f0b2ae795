"""Seconds per step and peak memory of both stages at full size, from files in the official formats.

    python benchmarks/fullsize_training.py [--sam-type vit_b] [--base sd15] [--steps 2] [--precision bf16]

Random weights are written as the official files have them (4 GB in a temporary folder), read back as a
user's would be, and trained at 1024 px: LoRA of the U-Net with gradient checkpointing, then the mask
decoder. Proves that it runs and fits, not that it learns. Takes a few minutes on two cores; memory is this
process's peak so far, pages of mapped files included.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from harness.official import read_official_files, write_in_a_process, write_official_files
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.scenes import random_scene
from harness.table import Row

from glesam.config import BaseName, SamType, official
from glesam.data.batches import SamplePool
from glesam.data.label_maps import objects
from glesam.data.sample import Sample
from glesam.model import GleSam
from glesam.training.session import make_accelerator, use_threads
from glesam.training.stage_config import StageConfig, parse_stage_config
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.watch import Moment
from glesam_runtime.tools.machine import host_memory


@dataclass(frozen=True, eq=False)
class Scenes:
    """A data set of coloured shapes, drawn when they are read."""

    name: str = "scenes"
    weight: float = 1.0
    names: Sequence[str] = field(default_factory=lambda: [str(i) for i in range(8)])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        labels = random_scene(1024, rng)
        colours = rng.integers(0, 256, (labels.max() + 1, 3), np.uint8)
        return Sample(self.name, self.names[index], colours[labels], objects(labels, (0,)))


def main(
    sam_type: Annotated[str, typer.Option(help="vit_b, or such as sam2.1_hiera_tiny.")] = "vit_b",
    base: Annotated[str, typer.Option(help="sd15 or sd21.")] = "sd15",
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of stage 1; stage 2 takes one.")] = 2,
    precision: Annotated[str, typer.Option(help="no, bf16, or on a GPU fp16.")] = "bf16",
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads of torch.")] = None,
    write_only: Annotated[Path | None, typer.Option(hidden=True)] = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    config = official(cast(SamType, sam_type), cast(BaseName, base))
    if write_only is not None:
        write_official_files(config, write_only)
        return
    run = Run.begin("training", f"Training steps of {sam_type} with {base}, random weights, {precision}")
    use_threads(threads)
    common = {"batch_size": 1, "mixed_precision": precision, "warmup": 0, "report_every": 1}
    lora = {**common, "steps": steps, "gradient_checkpointing": True}
    decoder = {**common, "steps": 1, "epochs": None}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        write_in_a_process(sam_type, base, files)
        started = time.monotonic()
        model = read_official_files(files)
        assert model.config == config
        rows = [row("official files, read", time.monotonic() - started)]
        for stage, settings in enumerate((lora, decoder), start=1):
            stage_config = parse_stage_config(json.dumps(settings), stage, "the benchmark's settings")
            rows += steps_of(model, stage_config, Path(folder) / "run")
    run.finish(rows, record, note)


def steps_of(model: GleSam, config: StageConfig, folder: Path) -> list[Row]:
    """Trains one stage and returns a row for each step."""
    rows: list[Row] = []

    def report(moment: Moment) -> None:
        rows.append(row(f"{moment.stage}, step {moment.step} of {moment.steps}", moment.step_s))
        print(rows[-1], flush=True)

    accelerator = make_accelerator(config.mixed_precision)
    model = ready(model, config, accelerator)
    train_stage(model, SamplePool([Scenes()]), config, StageRun(folder, accelerator, report))
    return rows


def row(what: str, seconds: float) -> Row:
    peak = host_memory().peak
    memory: Row = {"s": round(seconds, 1), "peak_gib": round(peak / 2**30, 1) if peak else None}
    if torch.cuda.is_available():
        memory["gpu_peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    return {"what": what, **memory}


if __name__ == "__main__":
    typer.run(main)
