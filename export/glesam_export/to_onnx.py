"""PyTorch module -> simplified fp32 ONNX model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnxsim
import torch

from glesam_export.errors import ConversionError
from glesam_export.graphs import Graph

OPSETS = (18, 19, 20)
"""Native LayerNormalization needs 17, the exporter starts at 18, TensorRT 10.3 ends at 20."""


def onnx_from_graph(graph: Graph, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """Exports with torch's dynamo exporter and simplifies with onnxsim.

    Raises:
        ConversionError: the exporter or the simplifier failed; its own error is the cause.
    """
    if opset not in OPSETS:
        raise ConversionError(f"opset {opset}: expected one of {', '.join(map(str, OPSETS))}")
    dims = {name: torch.export.Dim(name) for name in _dynamic_names(graph)}
    shapes = {
        name: {axis: dims[dim] for axis, dim in graph.dynamic_axes.get(name, {}).items()}
        for name in graph.example
    }
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                graph.module,
                kwargs=graph.example,
                dynamo=True,
                opset_version=opset,
                input_names=list(graph.example),
                output_names=list(graph.outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
        assert program is not None
        simplified: onnx.ModelProto
        simplified, matches = onnxsim.simplify(program.model_proto)
    except Exception as error:  # the exporters raise whatever their parts raise
        raise ConversionError(f"{graph.name}: export to ONNX failed: {error}") from error
    if not matches:
        raise ConversionError(f"{graph.name}: onnxsim's result differs from its input; nothing kept")
    onnx.checker.check_model(simplified)
    return simplified


def _dynamic_names(graph: Graph) -> set[str]:
    return {dim for axes in graph.dynamic_axes.values() for dim in axes.values()}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter's deprecation notes and registration logs concern its authors, not our users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
