"""nano on every backend here: PyTorch's golden answers, and engines. int8 is in test_nano_int8."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glesam_runtime import Bundle
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.cli.build import app as build_app
from glesam_runtime.engines import ONNX_BACKENDS, open_engine, open_engines
from glesam_runtime.tools.parity import MIN_IOU, check
from glesam_runtime.tools.verify import verify

WORST_MASK = 0.95
"""Least IoU of 32 masks: .966 where OpenVINO computes in fp16, .991 in fp32. The gate limits the mean."""


@pytest.fixture(scope="module")
def in_fp32(nano_fp32: Path) -> dict[str, Path]:
    """The shipped checkpoint's graphs as export writes them in fp32."""
    return {name: nano_fp32 / f"{name}.onnx" for name in Bundle.open().manifest.graphs}


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_fp32_is_pytorchs_to_a_few_digits(in_fp32: dict[str, Path], backend: str) -> None:
    golden = Bundle.open()
    specs = {name: graph.spec for name, graph in golden.manifest.graphs.items()}
    parity = verify(golden, {name: open_engine(backend, path, specs[name]) for name, path in in_fp32.items()})
    check(parity, MIN_IOU["fp32"])
    assert all(graph.relative < 1e-4 for graph in parity.graphs.values())


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_fp16_holds(backend: str) -> None:
    bundle = Bundle.open()
    parity = verify(bundle, open_engines(backend, bundle))
    check(parity, MIN_IOU["fp16"])
    assert all(graph.relative < 0.01 for graph in parity.graphs.values())
    assert all(masks.worst > WORST_MASK for masks in parity.mask_iou.values())


def as_bundle(paths: dict[str, Path], root: Path) -> Path:
    """The shipped bundle with other graphs, all of them in fp32."""
    shutil.copytree(Bundle.open().root, root)
    document = json.loads((root / "bundle.json").read_text()) | {"precision": "fp32"}
    for name, path in paths.items():
        shutil.copy(path, root)
        document["graphs"][name] |= {"precision": "fp32", "fp32_islands": {}}
        document["files"][path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    text = json.dumps(document).encode()
    (root / "bundle.json").write_bytes(text)
    (root / "bundle.json.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  bundle.json\n")
    return root


def test_tensorrt_rtx_builds_fp32_on_three_generations(
    in_fp32: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 is in tests/runtime/test_tensorrt_build.py."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    bundle = as_bundle(in_fp32, tmp_path / "bundle")
    done = CliRunner().invoke(build_app, [str(bundle), "--target", "sm86,sm89,sm120"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" fp32") == 9
