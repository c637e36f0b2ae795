"""Seconds, ratios, share of the machine's peak and memory at full size: the authors' way against bundles.

    python benchmarks/fullsize.py BUNDLE... --files DIR [--rounds 5]

DIR holds what `fullsize_export.py --keep` writes for a model; the bundles are made from it. *Authors' way*:
PEFT LoRA unmerged, diffusers' U-Net and SAM eager in fp32, time embedding and text projections computed in
each call. Every bundle runs on each backend of this build, a bf16 one on what `auto` picks for its graphs.
All contenders are timed in one interleaved run on two threads; memory is that of a process of its own.

Roofline: operations of a stage per second, over what torch reaches here in a large matrix product or a
convolution, in fp32, and for bundles whose name ends with bf16 in bf16.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from interleaved import SECOND, STAGES, WHOLE, Times, interleaved

from glesam.official.build import build_official
from glesam.reference import reference_predictor
from glesam_runtime import Bundle, Predictor
from glesam_runtime.engines import ONNX_BACKENDS

AUTHORS = "authors' way"
THREADS = 2
GFLOP = {"enhance": 815, "vit_b": 972, "vit_l": 2986, "vit_h": 5961}
"""Multiply-adds times two: the U-Net on 64 x 64 cells, SAM's encoders on 1,024 px."""
MATRIX, CHANNELS = 4096, 512


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", exists=True)],
    files: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="Official files.")],
    rounds: Annotated[int, typer.Option(metavar="N", help="Timed rounds, after one that is not.")] = 5,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    torch.set_num_threads(THREADS)
    if only is not None:
        interleaved({only: opened(only, files)}, rounds=0)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    names = [AUTHORS, *contenders(bundles)]
    memory = {name: peak_memory(name, bundles, files) for name in names}
    peaks = {"fp32": measured_peak(torch.float32)}
    if any(name.endswith("bf16") for name in names):  # minutes on a CPU without bf16
        peaks["bf16"] = measured_peak(torch.bfloat16)
    print(f"measured peak, {THREADS} threads: " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in peaks.items()))
    sam_type = json.loads((bundles[0] / "bundle.json").read_text())["model"]["sam_type"]
    times = interleaved({name: opened(name, files) for name in names}, rounds, progress=True)
    print(table(names, times, memory, peaks, GFLOP | {"encode": GFLOP[sam_type]}))


def contenders(bundles: Sequence[Path]) -> list[str]:
    """`backend bundle`."""
    pairs = [(path, Bundle.open(path).manifest.precision) for path in bundles]
    return [
        f"{b} {path}" for path, kind in pairs for b in (("auto",) if kind.endswith("bf16") else ONNX_BACKENDS)
    ]


def opened(name: str, files: Path) -> Predictor:
    if name != AUTHORS:
        backend, path = name.split(" ", 1)
        return Predictor.from_bundle(path, backend)
    parts = ("sam.pth", "unet", "empty_prompt.npy", "pytorch_lora_weights.safetensors", "ft-decoder.pth")
    return reference_predictor(build_official(*(files / part for part in parts)))


def peak_memory(name: str, bundles: Sequence[Path], files: Path) -> float:
    """GiB of one pass, in a process of its own."""
    command = [sys.executable, __file__, *map(str, bundles), "--files", str(files), "--only", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def measured_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of a 3x3 convolution and a matrix product, the better of the two, each the best of five.

    On AMD torch's fp32 matrix product reaches half of what its convolution does.
    """
    a = torch.randn(MATRIX, MATRIX, dtype=dtype)
    conv = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, dtype=dtype)
    x = torch.randn(1, CHANNELS, 64, 64, dtype=dtype)
    work = {2 * MATRIX**3: lambda: a @ a, 2 * 9 * CHANNELS**2 * 64**2: lambda: conv(x)}
    return max(gflop_per_second(amount, call) for amount, call in work.items())


@torch.no_grad()
def gflop_per_second(amount: int, call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return amount / best / 1e9


def table(
    names: Sequence[str],
    times: Times,
    memory: dict[str, float],
    peaks: dict[str, float],
    work: dict[str, int],
) -> str:
    """Seconds, in brackets the ratio to the authors' way (above 1: faster) and the share of the peak."""
    columns = [*STAGES, WHOLE]
    lines = [f"| | {' | '.join(columns)} | {SECOND} | peak memory |", "|---" * (len(columns) + 3) + "|"]
    for name in names:
        peak = peaks["bf16" if name.endswith("bf16") else "fp32"]
        cells = []
        for stage in columns:
            seconds, base = times[name, stage] / 1000, times[AUTHORS, stage] / 1000
            share = f", {work[stage] / seconds / peak:.0%}" if stage in work else ""
            cells.append(f"{seconds:.3f} s ({base / seconds:.2f}x{share})")
        second = times[name, SECOND]
        cells.append(f"{second:.0f} ms ({second / times[name, WHOLE]:.1%})")
        label = name.split(" ")[0] + " " + name.rsplit("/", 1)[-1] if name != AUTHORS else name
        lines.append(f"| {label} | {' | '.join(cells)} | {memory[name]:.1f} GiB |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
