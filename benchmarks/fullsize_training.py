"""Seconds per step and peak memory of both stages at full size, from files in the official formats.

    python benchmarks/fullsize_training.py [--sam-type vit_b] [--base sd15] [--steps 2] [--precision bf16]

Random weights are written as the official files have them (4 GB in a temporary folder), read back as a user's
would be, and trained at 1024 px: LoRA of the U-Net with gradient checkpointing, then the mask decoder.
Proves that it runs and fits, not that it learns.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from scenes import random_scene

from glesam.config import BaseName, GleSamConfig, SamType, official
from glesam.data.batches import SamplePool
from glesam.data.label_maps import objects
from glesam.data.sample import Sample
from glesam.gle import build_base_unet
from glesam.model import GleSam
from glesam.official.build import build_official, start_adapters
from glesam.official.decoder import save_decoder
from glesam.official.lora import save_lora
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder
from glesam.training.session import make_accelerator, use_threads
from glesam.training.stage_config import DecoderStageConfig, GleStageConfig, StageConfig
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.watch import Moment

SAM, TEXT, LORA, DECODER = "sam.pth", "empty_prompt.npy", "pytorch_lora_weights.safetensors", "ft-decoder.pth"


@dataclass(frozen=True, eq=False)
class Scenes:
    """A data set of coloured shapes, drawn when asked for."""

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
    sam_type: Annotated[str, typer.Option(help="vit_b, vit_l or vit_h.")] = "vit_b",
    base: Annotated[str, typer.Option(help="sd15 or sd21.")] = "sd15",
    steps: Annotated[int, typer.Option(metavar="N", help="Of stage 1; stage 2 takes one.")] = 2,
    precision: Annotated[str, typer.Option(help="no, bf16, or on a GPU fp16.")] = "bf16",
    threads: Annotated[int | None, typer.Option(metavar="N", help="Of torch.")] = None,
    write_only: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    config = official(cast(SamType, sam_type), cast(BaseName, base))
    if write_only is not None:
        write_official_files(config, write_only)
        return
    use_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        again = [sys.executable, __file__, "--sam-type", sam_type, "--base", base, "--write-only", folder]
        subprocess.run(again, check=True)  # a process of its own: its memory is not training's
        for path in sorted(path for path in files.rglob("*") if path.is_file()):
            print(f"{path.relative_to(files)}: {path.stat().st_size:,} bytes")
        model = timed("read the official files", lambda: read_official_files(config, files))
        common: dict[str, Any] = {
            "batch_size": 1,
            "mixed_precision": precision,
            "warmup": 0,
            "report_every": 1,
        }
        lora = GleStageConfig(**common, steps=steps, gradient_checkpointing=True)
        decoder = DecoderStageConfig(**common, steps=1, epochs=None)
        for stage in (lora, decoder):
            train(model, stage, files / "run")


def write_official_files(config: GleSamConfig, folder: Path) -> None:
    """Random weights under the official names, part by part."""
    torch.manual_seed(0)
    build_base_unet(config.gle.unet).save_pretrained(folder / "unet")
    parts = {
        "image_encoder": build_image_encoder(config.sam.encoder, config.sam.image_size),
        "prompt_encoder": build_prompt_encoder(config.sam),
        "mask_decoder": build_mask_decoder(config.sam),
    }
    tensors = {f"{part}.{n}": t for part, module in parts.items() for n, t in module.state_dict().items()}
    torch.save(tensors, folder / SAM)
    np.save(folder / TEXT, torch.randn(1, 77, config.gle.unet.cross_attention_dim).numpy())
    with torch.device("meta"):
        model = GleSam(config)
    start_adapters(model)
    save_lora(model, folder / LORA)
    model.mask_decoder = parts["mask_decoder"]
    save_decoder(model, folder / DECODER)


def read_official_files(config: GleSamConfig, folder: Path) -> GleSam:
    """Their sizes are read off the files, and must be the ones that were written."""
    model = build_official(folder / SAM, folder, folder / TEXT, folder / LORA, folder / DECODER)
    assert model.config == config
    return model


def train(model: GleSam, config: StageConfig, folder: Path) -> None:
    accelerator = make_accelerator(config.mixed_precision)
    model = ready(model, config, accelerator)
    train_stage(model, SamplePool([Scenes()]), config, StageRun(folder, accelerator, report))


def report(moment: Moment) -> None:
    """A line per step."""
    means = "  ".join(f"{key} {value:.4f}" for key, value in (moment.means or {}).items())
    print(
        f"{moment.stage} {moment.step}/{moment.steps}  {moment.step_s:.1f} s/step  {peak()}  {means}",
        flush=True,
    )


def timed(what: str, compute: Callable[[], GleSam]) -> GleSam:
    since = time.monotonic()
    result = compute()
    print(f"{what}: {time.monotonic() - since:.1f} s, {peak()}", flush=True)
    return result


def peak() -> str:
    """Of this process so far: pages of mapped files count while they are in memory."""
    gpu = (
        f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the GPU"
        if torch.cuda.is_available()
        else ""
    )
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB{gpu}"


if __name__ == "__main__":
    typer.run(main)
