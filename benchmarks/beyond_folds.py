"""What else could make a folded U-Net faster: exact rewrites, measured against the folded graph.

    python benchmarks/beyond_folds.py --files DIR [--variant NAME]... [--rounds 4]

DIR holds what `fullsize_export.py --keep` writes for a model. Each variant is exported beside the folded
graph and timed with it in one interleaved run, on ONNX Runtime in fp32 and on OpenVINO in fp32 and bf16.
Prints the folded graph's time divided by the variant's (above 1: faster) and the relative error of GLE's
correction in fp32. A variant takes several minutes on two cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from diffusers.models.attention import BasicTransformerBlock
from harness.interleaved import interleaved, milliseconds
from harness.official import read_official_files
from harness.options import NoteOption, RecordOption, RoundsOption
from harness.record import Run
from torch import Tensor, nn

from glesam_calib.graph.files import save_onnx
from glesam_export.folds import fold_all
from glesam_export.graphs import GleGraph, Graph
from glesam_export.rewrites.chunked_attention import chunked_self_attention
from glesam_export.rewrites.static_gle import StaticGle, shared_copy
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine

RUNS = {
    "onnxruntime_fp32_ratio": ("onnxruntime", "fp32"),
    "openvino_fp32_ratio": ("openvino", "fp32"),
    "openvino_bf16_ratio": ("openvino", "bf16"),
}
SPEC = bundle_contract(1024)["gle"]


class SelfAttention(nn.Module):
    """diffusers' self-attention [B, T, C], its scale in the queries' weights."""

    def __init__(self, attention: Any, merged: bool) -> None:  # noqa: ANN401 - diffusers'
        super().__init__()
        self.heads, self.out = attention.heads, attention.to_out[0]
        weights = [attention.to_q.weight * attention.scale, attention.to_k.weight, attention.to_v.weight]
        weights = [torch.cat(weights)] if merged else weights
        self.weights = nn.ParameterList(nn.Parameter(w.T.contiguous()) for w in weights)

    def forward(self, x: Tensor, **_: None) -> Tensor:
        parts = [x @ weight for weight in self.weights]
        parts = list(parts[0].chunk(3, dim=-1)) if len(parts) == 1 else parts
        q, k, v = (part.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        attended = (q @ k.transpose(2, 3)).softmax(-1) @ v
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class ProjectedContext(nn.Module):
    """Attention to a constant context, K multiplied into to_q and V into to_out."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - ConstantContextAttention
        super().__init__()
        self.heads, out = attention.heads, attention.to_out[0]
        width = attention.to_q.weight.shape[0]
        query = attention.to_q.weight.reshape(self.heads, -1, width) * attention.scale
        value = out.weight.reshape(width, self.heads, -1)
        self.to_scores = nn.Parameter(torch.einsum("hdc,hld->chl", query, attention.key[0]).flatten(1))
        self.to_out = nn.Parameter(torch.einsum("hld,chd->hlc", attention.value[0], value).flatten(0, 1))
        self.bias = out.bias

    def forward(self, x: Tensor, **_: None) -> Tensor:
        weights = (x @ self.to_scores).reshape(*x.shape[:2], self.heads, -1).softmax(-1)
        return weights.flatten(2) @ self.to_out + self.bias


class SplitShortcut(nn.Module):
    """The 1x1 shortcut of a concatenation as a sum of two."""

    def __init__(self, shortcut: nn.Conv2d, first: int) -> None:
        super().__init__()
        self.first = first
        self.convs = nn.ModuleList()
        for weight, bias in ((shortcut.weight[:, :first], None), (shortcut.weight[:, first:], shortcut.bias)):
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
            conv.weight = nn.Parameter(weight.contiguous())
            conv.bias = bias
            self.convs.append(conv)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs[0](x[:, : self.first]) + self.convs[1](x[:, self.first :])
        return out


def with_self_attention(merged: bool) -> Callable[[StaticGle], StaticGle]:
    def change(gle: StaticGle) -> StaticGle:
        for block in gle.unet.modules():
            if isinstance(block, BasicTransformerBlock):
                block.attn1 = SelfAttention(block.attn1, merged)
        return gle

    return change


def project_context(gle: StaticGle) -> StaticGle:
    """Changes blocks where it is less work: 8 heads of 77 tokens are fewer columns than a width of 1,280."""
    for block in gle.unet.modules():
        if isinstance(block, BasicTransformerBlock) and block.attn2.to_q.weight.shape[0] > 640:
            block.attn2 = ProjectedContext(block.attn2)
    return gle


def split_shortcuts(gle: StaticGle) -> StaticGle:
    width = gle.unet.mid_block.resnets[-1].out_channels
    for block in gle.unet.up_blocks:
        for resnet in block.resnets:
            resnet.conv_shortcut = SplitShortcut(resnet.conv_shortcut, width)
            width = resnet.out_channels
    return gle


VARIANTS: dict[str, Callable[[StaticGle], StaticGle]] = {
    "scale": with_self_attention(merged=False),
    "qkv": with_self_attention(merged=True),
    "chunks": chunked_self_attention,
    "context": project_context,
    "shortcuts": split_shortcuts,
}


@torch.no_grad()
def main(
    files: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="Official files.")],
    variant: Annotated[list[str] | None, typer.Option(help=f"{', '.join(VARIANTS)}. Default: all.")] = None,
    rounds: RoundsOption = 4,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("full_size", f"Rewrites of the folded U-Net: median of {rounds} interleaved rounds")
    folded, _ = fold_all(read_official_files(files).gle)
    z = torch.randn(1, 256, 64, 64)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        usual = exported(folded, z, Path(folder) / "folded.onnx")
        for name in variant or VARIANTS:
            changed = VARIANTS[name](shared_copy(folded))
            path = exported(changed.requires_grad_(False), z, Path(folder) / f"{name}.onnx")
            ratios = {key: ratio(usual, path, z.numpy(), *each, rounds) for key, each in RUNS.items()}
            a, b = changed(z), folded(z)
            error = float((a - b).norm() / (b - folded.skip_scale * z).norm())
            rows.append({"variant": name, **ratios, "relative_error": float(f"{error:.1e}")})
            print(rows[-1], flush=True)
    run.finish(rows, record, note)


def exported(gle: StaticGle, z: Tensor, path: Path) -> Path:
    feeds, outputs = {"image_embeddings": z}, ("image_embeddings_enhanced",)
    save_onnx(onnx_from_graph(Graph("gle", GleGraph(gle).eval(), feeds, outputs, {})), path)
    return path


def ratio(usual: Path, changed: Path, z: np.ndarray, backend: str, precision: str, rounds: int) -> float:
    """Returns the time of the usual graph divided by that of the changed one."""
    paths = {"usual": usual, "changed": changed}
    engines = {name: open_engine(backend, path, SPEC, precision) for name, path in paths.items()}
    contenders = {
        name: lambda engine=engine: {"ms": milliseconds(lambda: engine({"image_embeddings": z}))}
        for name, engine in engines.items()
    }
    times = interleaved(contenders, rounds)
    for engine in engines.values():
        engine.close()
    return round(times["usual"]["ms"] / times["changed"]["ms"], 2)


if __name__ == "__main__":
    typer.run(main)
