"""RobustSAM ViT-B at full size with random weights, against the authors' code: gigabytes, so run on request.

python -m pytest -m slow -s tests/export/test_robust_fullsize.py      -s shows the rows of measurements/
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "robust_sam.py"


@pytest.mark.slow
def test_a_further_prompt_takes_a_tenth_of_the_authors_call() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    assert done.returncode == 0
    table = [line[2:-2].split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    names = table[0]
    rows = {cells[0]: dict(zip(names, cells, strict=True)) for cells in table[2:]}
    ours = [row for name, row in rows.items() if name.endswith("fp32")]
    assert len(ours) == 2
    assert all(float(row["masks error"]) < 1e-3 for row in ours)
    assert max(float(row["ratio"]) for row in ours) > 10
