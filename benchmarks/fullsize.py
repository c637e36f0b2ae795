"""Seconds, ratios, share of the machine's peak and memory at full size: the authors' way against bundles.

    python benchmarks/fullsize.py BUNDLE... --files DIR [--rounds 5]

DIR holds what `fullsize_export.py --keep` writes for a model; the bundles are made from it. *Authors' way*:
PEFT LoRA unmerged, diffusers' U-Net and SAM eager in fp32, time embedding and text projections computed in
each call. Every bundle runs on each backend of this build, a bf16 one on what `auto` picks for its graphs.
All contenders are timed in one interleaved run on two threads; memory is that of a process of its own.
`ratio` is the authors' image to mask divided by the contender's (above 1: faster). Takes 10 to 30 minutes on
two cores.

`encode_peak` and `enhance_peak`: operations of a stage per second, divided by what torch reaches here in a
large matrix product or a convolution, in the lowest precision that the contender computes in: int8, bf16 or
fp32. 1 is therefore the most that this CPU could do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from harness.interleaved import WHOLE, interleaved, stages_of
from harness.official import read_official_files
from harness.options import NoteOption, RecordOption, RoundsOption
from harness.record import Run
from harness.table import Row

from glesam.reference import reference_predictor
from glesam_runtime import Bundle, Predictor
from glesam_runtime.engines import ONNX_BACKENDS
from glesam_runtime.tools.machine import host_memory

AUTHORS = "authors' way"
THREADS = 2
GFLOP = {"enhance": 815, "vit_b": 972, "vit_l": 2986, "vit_h": 5961}
"""Multiply-adds times two: the U-Net on 64 x 64 positions, SAM's encoders on 1,024 px."""
MATRIX, CHANNELS = 4096, 512


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", exists=True)],
    files: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="Official files.")],
    rounds: RoundsOption = 5,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    torch.set_num_threads(THREADS)
    if only is not None:
        stages_of(opened(only, files))()
        print(host_memory().peak)
        return
    sam_type = json.loads((bundles[0] / "bundle.json").read_text())["model"]["sam_type"]
    run = Run.begin(
        "full_size", f"{sam_type}, authors' way and bundles: median of {rounds} interleaved rounds"
    )
    names = [AUTHORS, *contenders(bundles)]
    memory = {name: peak_memory(name, bundles, files) for name in names}
    peaks = measured_peaks(names)
    times = interleaved({name: stages_of(opened(name, files)) for name in names}, rounds, progress=True)
    work = {"encode": GFLOP[sam_type], "enhance": GFLOP["enhance"]}
    rows = [row(name, times, peaks, work) | {"peak_gib": memory[name]} for name in names]
    run.finish(rows, record, f"{note} Peak of torch: {peaks}, in GFLOP/s.".strip())


def contenders(bundles: Sequence[Path]) -> list[str]:
    """Returns names of the form "backend bundle"."""
    pairs = [(path, Bundle.open(path).manifest.precision) for path in bundles]
    return [
        f"{b} {path}" for path, kind in pairs for b in (("auto",) if kind.endswith("bf16") else ONNX_BACKENDS)
    ]


def opened(name: str, files: Path) -> Predictor:
    """Returns the predictor of a contender."""
    if name == AUTHORS:
        return reference_predictor(read_official_files(files))
    backend, path = name.split(" ", 1)
    return Predictor.from_bundle(path, backend)


def peak_memory(name: str, bundles: Sequence[Path], files: Path) -> float:
    """Returns the peak resident memory of one pass in a process of its own [GiB]."""
    command = [sys.executable, __file__, *map(str, bundles), "--files", str(files), "--only", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return round(int(done.stdout.splitlines()[-1]) / 2**30, 1)


def lowest_precision(name: str) -> str:
    """Returns the precision of a contender's products: "int8", "bf16" or "fp32"."""
    if name == AUTHORS:
        return "fp32"
    precision = Bundle.open(Path(name.split(" ", 1)[1])).manifest.precision
    lowest, *_ = precision.split("+")
    return lowest if lowest in PEAKS else "fp32"


def integer_products() -> float:
    a, b = (torch.randint(-127, 128, (MATRIX, MATRIX), dtype=torch.int8) for _ in range(2))
    return gflop_per_second(2 * MATRIX**3, lambda: torch._int_mm(a, b))


def float_products(dtype: torch.dtype) -> float:
    """Returns GFLOP/s of a 3x3 convolution or a matrix product, whichever is faster.

    On AMD torch's fp32 matrix product reaches half of what its convolution does.
    """
    a = torch.randn(MATRIX, MATRIX, dtype=dtype)
    conv = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, dtype=dtype)
    x = torch.randn(1, CHANNELS, 64, 64, dtype=dtype)
    work = {2 * MATRIX**3: lambda: a @ a, 2 * 9 * CHANNELS**2 * 64**2: lambda: conv(x)}
    return max(gflop_per_second(amount, call) for amount, call in work.items())


PEAKS: Mapping[str, Callable[[], float]] = {
    "int8": integer_products,
    "bf16": partial(float_products, torch.bfloat16),
    "fp32": partial(float_products, torch.float32),
}


def measured_peaks(names: Sequence[str]) -> dict[str, int]:
    """Returns the peak of each precision that a contender computes in [GFLOP/s], the best of five calls."""
    return {kind: round(PEAKS[kind]()) for kind in sorted({*map(lowest_precision, names)})}


@torch.no_grad()
def gflop_per_second(amount: int, call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return amount / best / 1e9


def row(
    name: str, times: Mapping[str, Mapping[str, float]], peaks: Mapping[str, int], work: Mapping[str, int]
) -> Row:
    """Returns milliseconds, the ratio to the authors' way, and the share of the peak that a stage reaches."""
    peak = peaks[lowest_precision(name)]
    ratio = times[AUTHORS][f"{WHOLE}_ms"] / times[name][f"{WHOLE}_ms"]
    shares = {
        f"{stage}_peak": round(gflop / (times[name][f"{stage}_ms"] / 1000) / peak, 2)
        for stage, gflop in work.items()
    }
    label = name if name == AUTHORS else f"{name.split(' ')[0]} {Path(name).name}"
    return {"contender": label, **times[name], "ratio": round(ratio, 2), **shares}


if __name__ == "__main__":
    typer.run(main)
