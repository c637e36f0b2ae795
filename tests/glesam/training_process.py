"""A run of a stage in a process of its own: `python training_process.py DATA RUN STAGE`; says its steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from tiny_training import SETTINGS, trained_model

from glesam.data.batches import SamplePool
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.training.stage_config import parse_stage_config
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.watch import Lines

OPTIONS = {
    1: {"distribution_matching": 1.0, "gan": 5e-3, "generator_every": 2},
    2: {"feedback_share": 0.5},
}
STEPS = 6


def train(data: Path, folder: Path, stage: int) -> None:
    """Ends with the weights in `folder`/weights.pt."""
    torch.set_num_threads(1)
    values = {**SETTINGS, **OPTIONS[stage], "steps": STEPS, "save_every": 2}
    config = parse_stage_config(json.dumps(values), stage, "settings")
    accelerator = Accelerator()
    model = ready(trained_model(), config, accelerator)
    pool = SamplePool(in_memory(load_datasets(data)))
    say = Lines(lambda line: print(line, flush=True))
    train_stage(model, pool, config, StageRun(folder, accelerator, say))
    torch.save(model.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
