"""TensorRT for RTX makes int8 convolutions and products of the layers that a bundle says are int8."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tensorrt_build.py"


def run(bundle: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    options = [option for target in targets for option in ("--target", target)]
    command = [sys.executable, str(SCRIPT), str(bundle), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_every_int8_layer_is_int8_on_three_generations(int8_bundle: Path) -> None:
    done = run(int8_bundle, "sm86", "sm89", "sm120")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    graphs = json.loads((int8_bundle / "bundle.json").read_text())["graphs"]
    for line in lines:
        count = len(graphs["gle" if "/gle " in line else "image_encoder"]["int8"]["layers"])
        assert f"{count} of {count} int8 layers are" in line


@pytest.mark.parametrize("graph", ["gle"])
def test_a_layer_that_is_not_int8_is_told(int8_bundle: Path, tmp_path: Path, graph: str) -> None:
    """Else the test above would prove nothing: conv_in stays in fp16, whatever bundle.json says."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "bundle"))
    document = json.loads((bundle / "bundle.json").read_text())
    listed = document["graphs"][graph]["int8"]
    moved = next(name for name in listed["left"] if "conv_in" in name)
    listed["layers"].append(moved)
    (bundle / "bundle.json").write_text(json.dumps(document))
    done = run(bundle, "sm86")
    assert done.returncode == 1
    assert f"{moved} is Half" in done.stderr
