"""Exports of the official models at full size: bytes, seconds, peak memory, parity.

    python benchmarks/fullsize_export.py [--model vit_b-sd15]... [--precision fp32]... [--keep DIR]

Writes random weights under the official names and joins them with glesam-convert. Then runs glesam-export on
the checkpoint as a user would, in a process of its own, and prints a row for each. Takes 12 GB of disk per
model, and minutes per row. Exit status 1 where an export or its parity gate fails.

SAM 2's models have names such as sam2.1_hiera_tiny-sd21. `--small-gle` puts a GLE of a few layers into the
checkpoint before it is exported: what is measured is then SAM's encoder and decoder, whatever their GLE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from harness.official import DECODER, LORA, SAM, TEXT, UNET, are_written, write_in_a_process
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam.checkpoint_folder import read_checkpoint
from glesam.config import tiny
from glesam.model import GleSam


def main(
    model: Annotated[list[str] | None, typer.Option(metavar="SAM-BASE", help="Default: vit_b-sd15.")] = None,
    precision: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: fp32.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photographs for glesam-export --images.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Files and bundles stay here.")] = None,
    small_gle: Annotated[
        bool,
        typer.Option("--small-gle", help="Export with a GLE of a few layers in the official one's place."),
    ] = False,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("full_size", "Exports of the official models, random weights")
    rows = []
    for name in model or ["vit_b-sd15"]:
        with workplace(keep) as folder:
            checkpoint = checkpoint_of(name, folder)
            if small_gle:
                checkpoint = with_small_gle(checkpoint)
            rows += [exported(name, p, checkpoint, folder, images) for p in precision or ["fp32"]]
    run.finish(rows, record, note)


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Yields the folder that keeps everything, or a temporary one."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def checkpoint_of(name: str, folder: Path) -> Path:
    """Returns a checkpoint of random weights in the official formats; both are written once."""
    files, checkpoint = folder / name, folder / f"{name}-checkpoint"
    if not are_written(files):
        write_in_a_process(*name.split("-"), files)
    if not checkpoint.exists():
        command(
            "glesam-convert",
            ["--sam-type", name.split("-")[0], *official_options(files), "--out", checkpoint],
        )
    return checkpoint


def with_small_gle(checkpoint: Path) -> Path:
    """Returns a checkpoint with the same SAM and the GLE of `glesam.config.tiny`."""
    out = checkpoint.with_name(f"{checkpoint.name}-small-gle")
    config, tensors = read_checkpoint(checkpoint)
    torch.manual_seed(0)
    model = GleSam(replace(config, gle=tiny().gle))
    model.load_state_dict(
        {name: t for name, t in tensors.items() if not name.startswith("gle.")}, strict=False
    )
    model.save_pretrained(out)
    return out


def official_options(files: Path) -> list[str | Path]:
    """Returns the options of glesam-convert that name the official files."""
    named = {"sam-checkpoint": SAM, "unet": UNET, "lora": LORA, "decoder": DECODER, "text-embedding": TEXT}
    return [word for option, name in named.items() for word in (f"--{option}", files / name)]


def exported(name: str, precision: str, checkpoint: Path, folder: Path, images: Path | None) -> Row:
    """Runs glesam-export and returns its row; its own output passes through."""
    out = folder / f"{name}-{precision}"
    options = [checkpoint, "--precision", precision, "--out", out, *(("--images", images) if images else ())]
    seconds, peak_gib = command("glesam-export", options)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    took = {"mib": round(size / 2**20), "s": seconds, "peak_gib": peak_gib}
    return {"model": name, "precision": precision, **took, **parity_of(out)}


def command(program: str, options: Sequence[str | Path]) -> tuple[float, float]:
    """Runs a command of this installation; returns its seconds and its peak resident memory [GiB]."""
    start = time.monotonic()
    process = subprocess.Popen([str(Path(sys.executable).with_name(program)), *map(str, options)])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"error: {program} failed after {seconds:.0f} s; its own message is above")
    return round(seconds), round(usage.ru_maxrss / 2**20, 1)


def parity_of(bundle: Path) -> Row:
    """Returns the parity that glesam-export measured."""
    parity = json.loads((bundle / "bundle.json").read_text())["parity"]
    errors = {f"{graph}_error": float(f"{each['relative']:.1e}") for graph, each in parity["graphs"].items()}
    masks = parity["mask_iou"].values()
    count = sum(m["masks"] for m in masks)
    mean = sum(m["mean"] * m["masks"] for m in masks) / count
    ious = {"mean_iou": round(mean, 5), "worst_iou": round(min(m["worst"] for m in masks), 5), "masks": count}
    return {**errors, **ious}


if __name__ == "__main__":
    typer.run(main)
