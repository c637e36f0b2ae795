"""TensorRT for RTX builds what glesam-export writes, in the precision of bundle.json, without a GPU."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from glesam_runtime.cli.build import app

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))


def build(bundle: Path, targets: str) -> Result:
    return CliRunner().invoke(app, [str(bundle), "--target", targets])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_every_graph_computes_in_its_precision(request: pytest.FixtureRequest, precision: str) -> None:
    done = build(request.getfixturevalue(f"{precision}_bundle"), "sm86")
    assert done.exit_code == 0, done.output
    kinds = [line.split("heavy layers: ")[1].split() for line in done.stdout.splitlines()[:3]]
    decoder = "fp32" if precision == "bf16" else precision
    assert [kind for _, kind in kinds] == [precision, precision, decoder]
    assert all(int(count) > 10 for count, _ in kinds)


def test_every_int8_layer_is_int8_on_three_generations(int8_bundle: Path) -> None:
    done = build(int8_bundle, "sm86,sm89,sm120")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()[:-1]
    assert len(lines) == 9
    assert all(" int8" in line for line in lines if not line.startswith("mask_decoder"))
    assert all(line.endswith(" fp16") for line in lines if line.startswith("mask_decoder"))


@pytest.mark.parametrize("graph", ["gle"])
def test_a_layer_that_is_not_int8_is_named(int8_bundle: Path, tmp_path: Path, graph: str) -> None:
    """Without this the test above would prove nothing: conv_in stays in fp16, whatever bundle.json says."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "bundle"))
    document = json.loads((bundle / "bundle.json").read_text())
    listed = document["graphs"][graph]["int8"]
    moved = next(name for name in listed["left"] if "conv_in" in name)
    listed["layers"].append(moved)
    text = json.dumps(document).encode()
    (bundle / "bundle.json").write_bytes(text)
    (bundle / "bundle.json.sha256").write_text(f"{sha256(text).hexdigest()}  bundle.json\n")
    done = build(bundle, "sm86")
    assert done.exit_code == 2
    assert f"{moved} is fp16" in done.stderr
