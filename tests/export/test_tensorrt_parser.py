"""TensorRT for RTX's parser takes every graph, in a process of its own and without a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tensorrt_parse.py"


def run(*bundles: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, bundles)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_every_graph_of_every_precision_parses(
    fp32_bundle: Path, fp16_bundle: Path, bf16_bundle: Path
) -> None:
    done = run(fp32_bundle, fp16_bundle, bf16_bundle)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 9
    assert all("parses it" in line for line in done.stdout.splitlines())


def test_a_graph_that_no_tensorrt_reads_is_told(fp16_bundle: Path, tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    model = onnx.load(fp16_bundle / "gle.onnx")
    first = next(node for node in model.graph.node if node.op_type == "Cast")
    first.op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "gle.onnx")
    done = run(tmp_path)
    assert done.returncode == 1
    assert "NoSuchOperator" in done.stderr
    assert "1 of 1 graphs do not parse" in done.stderr
