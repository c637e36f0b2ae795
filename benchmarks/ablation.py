"""The paper's ablation at nano's size: GLE left out, without FDA, and LoRA of rank 4, 8 and 16.

    python benchmarks/ablation.py DATA [--prompts dev.prompts.json] [--steps 150] [--out out/ablation]

Every variant is the shipped nano with new adapters on its U-Net, those of the first and last convolution
included, which stage "base" had trained: they start alike (`start_adapters`) and are trained with the losses
of stage "gle" on the same batches of crops. Encoder, decoder (fine-tuned behind the shipped GLE) and the
U-Net's own weights stay. One glesam-eval then gives all variants the same prompts, clean and at LQ-3, and
its mean IoU over pictures is the ablation. The runs are short, three minutes each on one core: what counts
is how the rows differ.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import torch
import typer
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam.data.batches import SamplePool, batches
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.model import GleSam, shipped_checkpoint
from glesam.nano.adapter_start import start_adapters
from glesam.nano.recipe import NANO, PRECISION, START_BATCHES, TASK_WEIGHT, Stage
from glesam.nano.recipe import Run as TrainingRun
from glesam.training.session import make_accelerator, use_threads
from glesam.training.stage_config import GleStageConfig
from glesam.training.stage_losses import gle_losses, select_lora
from glesam.training.stages import with_adapters

LEVELS = "clean,3"
COLUMN = {"clean": "clean", "3": "lq3"}


@dataclass(frozen=True)
class Variant:
    """LoRA of this rank. `gamma` is FDA's scale, 1 without FDA; None: nano's."""

    rank: int
    gamma: float | None = None

    def name(self) -> str:
        return f"{'' if self.gamma is None else 'no FDA, '}rank {self.rank}"


VARIANTS = (Variant(8, gamma=1.0), Variant(4), Variant(8), Variant(16))


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What glesam-train --data takes.")],
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Prompt file for glesam-eval.")] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Training steps of each variant.")] = 150,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Variants and table.")] = Path("out/ablation"),
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    began = Run.begin("nano_quality", f"Ablation of GLE, {steps} training steps a variant")
    use_threads(None)
    accelerator = make_accelerator(PRECISION)
    pool = SamplePool(in_memory(load_datasets(data)))
    loop = replace(NANO.gle.loop, steps=steps, warmup=20, report_every=50)
    stage = replace(NANO.gle, loop=loop)
    sources = [f"no GLE={shipped_checkpoint()}:sam"]
    for variant in VARIANTS:
        folder = out / variant.name()
        train(variant, pool, stage, TrainingRun(folder, accelerator=accelerator)).save_pretrained(
            folder / "model"
        )
        sources.append(f"{variant.name()}={folder / 'model'}:glesam")
    began.finish(evaluate(data, prompts, sources, out / "eval"), record, note)


def train(variant: Variant, pool: SamplePool, stage: Stage, run: TrainingRun) -> GleSam:
    """Returns nano after the recipe's stage "gle" with new adapters; an interrupted run resumes."""
    torch.manual_seed(stage.loop.seed)
    settings = GleStageConfig(lora_rank=variant.rank, gamma=variant.gamma)
    model = with_adapters(GleSam.from_pretrained(shipped_checkpoint()), settings).eval()
    source = batches(pool, stage.plan(with_degraded=True))
    start_adapters(model, source(range(START_BATCHES)), stage.loop.seed)
    select_lora(model)
    run.train("gle", model.gle, source, partial(gle_losses, model, task=TASK_WEIGHT), stage, model)
    return model


def evaluate(data: Path, prompts: Path | None, sources: list[str], out: Path) -> list[Row]:
    """Runs glesam-eval; returns the mean IoU of each variant and level over the pictures."""
    program = str(Path(sys.executable).with_name("glesam-eval"))
    fixed = [f"--prompts={prompts}"] if prompts else []
    checkpoints = [f"--checkpoint={source}" for source in sources]
    options = [f"--data={data}", f"--levels={LEVELS}", *fixed, *checkpoints, f"--out={out}"]
    subprocess.run([program, *options], check=True)
    ious: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (out / "results.csv").open(newline="") as file:
        for score in csv.DictReader(file):
            ious[score["source"]][score["level"]].append(float(score["iou"]))
    return [
        {
            "variant": source,
            **{f"{COLUMN[level]}_iou": round(mean(each), 4) for level, each in levels.items()},
        }
        for source, levels in ious.items()
    ]


if __name__ == "__main__":
    typer.run(main)
