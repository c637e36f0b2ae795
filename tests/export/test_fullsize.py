"""The official models at full size, with random weights: minutes and gigabytes, so run on request.

python -m pytest -m slow -s tests/export/test_fullsize.py      -s shows the rows of measurements/README.md
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fullsize_export.py"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit_b-sd15", "vit_b-sd21"])
def test_fp32_and_fp16_pass_the_gate_and_tensorrts_builder(model: str, tmp_path: Path) -> None:
    precisions = ("fp32", "fp16")
    command = [sys.executable, str(SCRIPT), "--model", model, "--keep", str(tmp_path)]
    for precision in precisions:
        command += ["--precision", precision]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    assert done.returncode == 0
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {model} ")]
    assert [row[1] for row in rows] == list(precisions)
    assert all(float(row[4]) < 14 for row in rows), "GiB"
    code = "from glesam_runtime.cli.build import main; main()"
    environment = {**os.environ, "GLESAM_CACHE": str(tmp_path / "cache")}
    for precision in precisions:
        build = [sys.executable, "-c", code, str(tmp_path / f"{model}-{precision}"), "--target", "sm86"]
        assert subprocess.run(build, env=environment).returncode == 0
