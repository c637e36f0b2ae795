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

INLINE_BYTES = 256 << 20
"""Weights beyond this go into a file of their own: a protobuf is read into memory whole and ends at 2 GB."""
HALF_SCALES_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take fp16 scales."""


def save_onnx(model: ir.Model, path: Path) -> None:
    """Writes one file or, for large models, a small one and the weights beside it in `<name>.data`.

    Weights are written one after the other: no second copy of them is made in memory.
    """
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    external = f"{path.name}.data" if size > INLINE_BYTES else None
    if external is None:
        ir.external_data.load_to_model(model)  # weights that lie in another graph's .data file
    ir.save(model, path, external_data=external)
    onnx.checker.check_model(path)


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
