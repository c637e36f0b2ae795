"""The graphs of DiffBIR compute what the model computes: exact in float64, and in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_diffbir import built, normal, uniform
from torch import Tensor, nn

from glesam.restorers.diffbir import DiffBir, torch_parts
from glesam.restorers.diffbir_loop import DiffBirRestorer
from glesam.restorers.diffbir_parts import EngineParts, diffbir_contract
from glesam_calib.graph.files import save_onnx
from glesam_export.diffbir_graphs import diffbir_graphs
from glesam_export.rewrites import chunked_attention
from glesam_export.rewrites.static_diffbir import static_denoiser, static_stage1, static_vae
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.graph_rules import check_graph_file
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Engine
from glesam_runtime.engines.tensorrt.child import RTX, Request, build
from glesam_runtime.engines.tensorrt.library import load_library

PICTURE, DIFFUSION = (50, 70), (64, 128)
INPUTS: dict[str, tuple[Tensor, ...]] = {
    "stage1": (uniform(1, 1, 3, *PICTURE),),
    "vae_encoder": (uniform(2, 1, 3, *DIFFUSION),),
    "denoiser": (normal(3, 1, 4, 8, 16), normal(4, 1, 4, 8, 16), torch.tensor([387.0]).double()),
    "vae_decoder": (normal(5, 1, 4, 8, 16),),
}


@pytest.fixture(scope="module")
def exact() -> DiffBir:
    return built()


@pytest.mark.parametrize("chunk", [512, 20])
@torch.no_grad()
def test_the_rewrites_are_exact(exact: DiffBir, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 positions, in one chunk of queries or in seven."""
    monkeypatch.setattr(chunked_attention, "CHUNK", chunk)
    rewritten: dict[str, nn.Module] = {
        "stage1": static_stage1(exact.stage1),
        "vae_encoder": static_vae(exact.vae_encoder),
        "denoiser": static_denoiser(exact.denoiser),
        "vae_decoder": static_vae(exact.vae_decoder),
    }
    for name, module in rewritten.items():
        expected = exact.get_submodule(name)(*INPUTS[name])
        assert (module(*INPUTS[name]) - expected).abs().max() < 1e-12 * expected.abs().max(), name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ONNX file of each graph, once the reader of bundles has accepted it."""
    folder = tmp_path_factory.mktemp("diffbir")
    contract = diffbir_contract(PICTURE, DIFFUSION)
    written = {}
    for graph in diffbir_graphs(built().float(), PICTURE, DIFFUSION):
        path = folder / f"{graph.name}.onnx"
        save_onnx(onnx_from_graph(graph), path)
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        check_graph_file(path.read_bytes(), contract[graph.name], path.name, sizes)
        written[graph.name] = path
    return written


@pytest.fixture(scope="module")
def engines(files: dict[str, Path]) -> dict[str, Engine]:
    contract = diffbir_contract(PICTURE, DIFFUSION)
    return {n: open_engine("onnxruntime", path, contract[n], threads=1) for n, path in files.items()}


@pytest.mark.parametrize("name", INPUTS)
@torch.no_grad()
def test_onnx_runtime_computes_what_the_model_computes(
    exact: DiffBir, engines: dict[str, Engine], name: str
) -> None:
    expected = exact.get_submodule(name)(*INPUTS[name]).numpy()
    names = [tensor.name for tensor in engines[name].spec.inputs]
    feeds = {n: tensor.float().numpy() for n, tensor in zip(names, INPUTS[name], strict=True)}
    (output,) = engines[name](feeds).values()
    assert np.abs(output - expected).max() < 1e-4 * np.abs(expected).max()


def test_exported_parts_restore_the_same_picture(engines: dict[str, Engine]) -> None:
    picture = (255 * uniform(9, *PICTURE, 3)).numpy().astype(np.uint8)
    parts = {"onnx": EngineParts(engines), "torch": torch_parts(built().float())}
    onnx, original = (DiffBirRestorer(p, n, 3, least_side=64)(picture) for n, p in parts.items())
    assert np.abs(onnx.astype(int) - original).max() <= 1


@pytest.mark.parametrize("name", INPUTS)
def test_tensorrt_for_rtx_builds_an_engine(files: dict[str, Path], name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    plan, path = tmp_path / "plan", files[name]
    build(load_library(RTX), Request(RTX, str(path), sha256_of(path), str(plan), 86, None, None, {}))
    assert plan.stat().st_size > 0
