"""Exports of the official models at full size: bytes, seconds, peak memory, parity.

    python benchmarks/fullsize_export.py [--model vit_b-sd15]... [--precision fp32]... [--keep DIR]

Writes random weights under the official names, runs glesam-export on them as a user would, in a process of
its own, and prints a row of measurements/README.md for each. Takes 8 GB of disk per model, and minutes per row.
Exit status 1 where an export or its parity gate fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent
HEADER = (
    "| model | precision | MiB | seconds | peak GiB | relative error: encoder | GLE | decoder "
    "| mask IoU, mean | worst |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def main(
    model: Annotated[list[str] | None, typer.Option(metavar="SAM-BASE", help="Default: vit_b-sd15.")] = None,
    precision: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: fp32.")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="As of glesam-export.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Files and bundles stay here.")] = None,
) -> None:
    rows = []
    for name in model or ["vit_b-sd15"]:
        with workplace(keep) as folder:
            files = official_files(name, folder / name)
            rows += [exported(name, p, files, folder, images) for p in precision or ["fp32"]]
    print("\n".join([HEADER, *rows]))


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def official_files(name: str, folder: Path) -> Path:
    """Random weights in the official formats, written once."""
    if not folder.exists():
        sam_type, base = name.split("-")
        folder.mkdir()
        script = [sys.executable, str(HERE / "fullsize_training.py")]
        command = [*script, "--sam-type", sam_type, "--base", base, "--write-only", str(folder)]
        subprocess.run(command, check=True)
    return folder


def exported(name: str, precision: str, files: Path, folder: Path, images: Path | None) -> str:
    """Runs glesam-export and returns its row; its own output passes through."""
    out = folder / f"{name}-{precision}"
    command = [
        Path(sys.executable).with_name("glesam-export"),
        *("--sam-type", name.split("-")[0], "--sam-checkpoint", files / "sam.pth", "--unet", files / "unet"),
        *("--lora", files / "pytorch_lora_weights.safetensors", "--decoder", files / "ft-decoder.pth"),
        *("--text-embedding", files / "empty_prompt.npy", "--gamma", "3"),
        *("--precision", precision, "--out", out),
        *(("--images", images) if images else ()),
    ]
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"error: {name} in {precision}: glesam-export failed after {seconds:.0f} s")
    return row(name, precision, out, seconds, usage.ru_maxrss / 2**20)


def row(name: str, precision: str, bundle: Path, seconds: float, peak_gib: float) -> str:
    mib = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) / 2**20
    parity = json.loads((bundle / "bundle.json").read_text())["parity"]
    errors = [f"{graph['relative']:.1e}" for graph in parity["graphs"].values()]
    masks = parity["mask_iou"].values()
    mean = sum(m["mean"] * m["masks"] for m in masks) / sum(m["masks"] for m in masks)
    worst = min(m["worst"] for m in masks)
    cells = [name, precision, f"{mib:,.0f}", f"{seconds:.0f}", f"{peak_gib:.1f}"]
    return f"| {' | '.join([*cells, *errors, f'{mean:.5f}', f'{worst:.5f}'])} |"


if __name__ == "__main__":
    typer.run(main)
