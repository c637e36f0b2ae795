"""The paper's ablation at nano's size: GLE left out, without FDA, and LoRA of rank 4, 8 and 16.

    python benchmarks/ablation.py DATA [--prompts dev.prompts.json] [--steps 150] [--out out/ablation]

Every variant is the shipped nano with new adapters on its U-Net, those of the first and last convolution
included, which stage "base" had trained: they start alike (`start_adapters`) and are trained with the losses
of stage "gle" on the same batches of crops. Encoder, decoder (fine-tuned behind the shipped GLE) and the
U-Net's own weights stay. One glesam-eval then asks all variants the same, clean and at LQ-3, and its table
is the ablation. The runs are short: what counts is how the rows differ.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from glesam.data.batches import SamplePool, batches
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.model import GleSam, shipped_checkpoint
from glesam.nano.adapter_start import start_adapters
from glesam.nano.recipe import NANO, PRECISION, START_BATCHES, TASK_WEIGHT, Run, Stage
from glesam.training.gle_stage import gle_losses, select_lora
from glesam.training.session import make_accelerator, use_threads
from glesam.training.stage_config import GleStageConfig
from glesam.training.stages import with_adapters

LEVELS = "clean,3"


@dataclass(frozen=True)
class Variant:
    """`gamma` is FDA's scale, 1 without FDA; None: nano's."""

    rank: int
    gamma: float | None = None

    def name(self) -> str:
        return f"{'' if self.gamma is None else 'no FDA, '}rank {self.rank}"


VARIANTS = (Variant(8, gamma=1.0), Variant(4), Variant(8), Variant(16))


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What glesam-train takes.")],
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Of glesam-eval.")] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Of each variant.")] = 150,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Variants and table.")] = Path("out/ablation"),
) -> None:
    use_threads(None)
    accelerator = make_accelerator(PRECISION)
    pool = SamplePool(in_memory(load_datasets(data)))
    loop = replace(NANO.gle.loop, steps=steps, warmup=20, report_every=50)
    stage = replace(NANO.gle, loop=loop)
    sources = [f"no GLE={shipped_checkpoint()}:sam"]
    for variant in VARIANTS:
        folder = out / variant.name()
        train(variant, pool, stage, Run(folder, accelerator=accelerator)).save_pretrained(folder / "model")
        sources.append(f"{variant.name()}={folder / 'model'}:glesam")
    evaluate(data, prompts, sources, out)


def train(variant: Variant, pool: SamplePool, stage: Stage, run: Run) -> GleSam:
    """The recipe's stage "gle" with new adapters; an interrupted one goes on."""
    torch.manual_seed(stage.loop.seed)
    settings = GleStageConfig(lora_rank=variant.rank, gamma=variant.gamma)
    model = with_adapters(GleSam.from_pretrained(shipped_checkpoint()), settings).eval()
    source = batches(pool, stage.plan(with_degraded=True))
    start_adapters(model, source(range(START_BATCHES)), stage.loop.seed)
    select_lora(model)
    run.train("gle", model.gle, source, partial(gle_losses, model, task=TASK_WEIGHT), stage, model)
    return model


def evaluate(data: Path, prompts: Path | None, sources: list[str], out: Path) -> None:
    """Prints where the table lies; what GLE gains there is over "no GLE"."""
    program = str(Path(sys.executable).with_name("glesam-eval"))
    command = [program, f"--data={data}", f"--levels={LEVELS}"]
    asked = [f"--prompts={prompts}"] if prompts else []
    checkpoints = [f"--checkpoint={source}" for source in sources]
    subprocess.run([*command, *asked, *checkpoints, f"--out={out / 'eval'}"], check=True)


if __name__ == "__main__":
    typer.run(main)
