"""The four graphs of DiffBIR v2: stage 1, VAE encoder, a denoising step with its text contexts, VAE decoder.

The loop and the colours stay outside: `glesam.restorers.diffbir_loop` runs the graphs in any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from glesam.restorers.diffbir import DiffBir
from glesam.restorers.diffbir_onnx import MARKER
from glesam.restorers.diffbir_parts import Size, diffbir_contract
from glesam_calib.graph.files import save_onnx
from glesam_export.graphs import Graph
from glesam_export.rewrites.static_diffbir import static_denoiser, static_stage1, static_vae
from glesam_export.to_onnx import free_memory, onnx_from_graph
from glesam_runtime.output.folders import FolderKind, replaced_folder

SIDE = 512
"""Side of the pictures that exported graphs restore [px], the least that DiffBIR works on."""
RESTORER = FolderKind("DiffBIR's graphs", MARKER, "--out")


def diffbir_graphs(model: DiffBir, picture: Size, diffusion: Size) -> Iterator[Graph]:
    """The graphs in the order they run, one at a time; the model's tensors are shared.

    picture: size of the pictures [px]. diffusion: that of the image the diffusion works on, a multiple of 64.
    """
    for name, spec in diffbir_contract(picture, diffusion).items():
        shapes = {tensor.name: [int(size) for size in tensor.shape] for tensor in spec.inputs}
        example = {tensor: torch.zeros(shape) for tensor, shape in shapes.items()}
        outputs = tuple(tensor.name for tensor in spec.outputs)
        yield Graph(name, _module(model, name).eval(), example, outputs, {})


def _module(model: DiffBir, name: str) -> nn.Module:
    if name == "stage1":
        return static_stage1(model.stage1)
    if name == "denoiser":
        return static_denoiser(model.denoiser)
    return static_vae(model.get_submodule(name))


def export_diffbir(model: DiffBir, out: Path, report: Callable[[str], None] = print) -> None:
    """Writes `<part>.onnx`, fp32, for pictures of `SIDE` x `SIDE` px to `out`, whole or not at all.

    Raises:
        ConversionError: a part does not become a graph.
        OutputError: `out` exists and is no such folder, or cannot be written.
    """
    with replaced_folder(out, RESTORER) as folder:
        for graph in diffbir_graphs(model, (SIDE, SIDE), (SIDE, SIDE)):
            report(f"{graph.name}: exporting")
            save_onnx(onnx_from_graph(graph), folder / f"{graph.name}.onnx")
            free_memory()
