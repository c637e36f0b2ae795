"""ONNX graphs as files: saved, varied without a copy of their weights, raised to another opset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx_ir as ir

from glesam_runtime.tools.progress import counter, track

INLINE_BYTES = 256 << 20
"""Weights beyond this go into a file of their own: a protobuf is read into memory whole and ends at 2 GB."""
EXTERNAL_BYTES = 256
"""Largest tensor that stays in the protobuf beside such a file."""
HALF_SCALES_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take fp16 scales."""


def save_onnx(model: ir.Model, path: Path) -> None:
    """Writes one file or, for large models, a small one and the weights beside it in `<name>.data`.

    Weights are converted and written one after the other: no second copy of large ones is made in memory.
    """
    sizes = [value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value]
    shown = f"weights of {path.stem} written"
    if sum(sizes) > INLINE_BYTES:
        with counter(sum(size > EXTERNAL_BYTES for size in sizes), shown) as advance:
            ir.save(
                model,
                path,
                external_data=f"{path.name}.data",
                size_threshold_bytes=EXTERNAL_BYTES,
                callback=lambda *_: advance(1),
            )
    else:
        ir.external_data.load_to_model(model)  # weights that lie in another graph's .data file
        _convert(model.graph, shown)
        ir.save(model, path)
    onnx.checker.check_model(path)


def _convert(graph: ir.Graph, shown: str) -> None:
    """Converts, in place, the weights of a graph that are converted only when they are written."""
    weights = [(value, value.const_value) for value in graph.initializers.values()]
    lazy = [(value, tensor) for value, tensor in weights if isinstance(tensor, ir.LazyTensor)]
    for value, tensor in track(lazy, len(lazy), shown):
        value.const_value = tensor.raw()
        value.const_value.name = value.name


@contextmanager
def beside_weights(path: Path) -> Iterator[Path]:
    """Yields a path for a variant of the graph at `path`; the graph's external weights lie beside it."""
    with TemporaryDirectory(prefix="glesam-") as folder:
        data = path.with_name(f"{path.name}.data")
        if data.exists():
            _link(data, Path(folder) / data.name)
        yield Path(folder) / path.name


def _link(data: Path, to: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no links."""
    try:
        os.link(data, to)
    except OSError:
        shutil.copyfile(data, to)


def allow_half_scales(model: ir.Model) -> None:
    """Raises a model of opset 18 to 19, in place; newer ones stay as they are.

    Opset 19 only adds types and optional attributes to the operators of a bundle (AveragePool's dilations,
    the saturate of Cast and QuantizeLinear), so that the graph computes the same.
    """
    model.opset_imports[""] = max(model.opset_imports[""], HALF_SCALES_OPSET)
