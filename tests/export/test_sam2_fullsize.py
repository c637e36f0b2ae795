"""SAM 2's four sizes from random official files to fp16 bundles: minutes and gigabytes, so run on request.

python -m pytest -m slow -s tests/export/test_sam2_fullsize.py     -s shows the rows of measurements/README.md

GLE at full size is the same network for every size: tiny and small are exported with it, end to end, and
base+ and large with a small one in its place, which leaves their own two graphs to prove.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fullsize_export.py"
MOST_GIB, MOST_S = 16, 15 * 60
LARGEST_ERROR = 0.02
"""Largest relative error of a graph's outputs in fp16."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "options"),
    [("tiny", []), ("small", []), ("base_plus", ["--small-gle"]), ("large", ["--small-gle"])],
)
def test_official_files_become_an_fp16_bundle_that_passes_the_gate(
    size: str, options: list[str], photos: Path
) -> None:
    model = f"sam2.1_hiera_{size}-sd21"
    command = [sys.executable, str(SCRIPT), "--model", model, "--precision", "fp16", *options]
    started = time.monotonic()
    done = subprocess.run([*command, "--images", str(photos)], stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - started
    print(done.stdout)
    assert done.returncode == 0
    (cells,) = (line.strip("| ").split(" | ") for line in done.stdout.splitlines() if f"| {model} " in line)
    _, precision, _, export_s, peak_gib, *errors = cells
    assert precision == "fp16"
    assert float(export_s.replace(",", "")) <= seconds < MOST_S
    assert float(peak_gib) < MOST_GIB
    assert all(float(error) < LARGEST_ERROR for error in errors[:3]), "encoder, GLE, decoder"
