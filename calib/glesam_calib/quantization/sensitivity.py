"""Measures on real pictures how much of a graph's answer each layer costs when it alone is int8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from glesam_calib.graph.files import beside_weights
from glesam_calib.observation.table import Statistics
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import Quantization, quantize_layers
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.errors import CalibrationError

Feeds = dict[str, Array]
TINY = 1e-30
"""Least norm that an error is divided by."""


def sensitivities(
    path: Path,
    spec: GraphSpec,
    statistics: Statistics,
    layers: Iterable[str],
    feeds: Sequence[Feeds],
    options: Quantization,
) -> Iterator[tuple[str, float]]:
    """Yields each layer with |answer - float answer| / |float answer|, that layer alone quantized.

    Of a graph with several outputs it is the largest of their errors.

    Args:
        path, spec: an fp32 graph.
        layers: names of the layers to measure; each takes a compilation and a run for each of `feeds`.
        feeds: the errors are averaged over them.

    Raises:
        CalibrationError: a layer makes the answer NaN or infinite.
    """
    alone = replace(options, high_precision="fp32", smoothing=False)
    expected = _answers(path, spec, feeds)

    def error(name: str) -> float:
        model = ir.load(path)
        chosen = [layer for layer in layers_of(model.graph) if layer.name == name]
        quantize_layers(model.graph, chosen, statistics, alone)
        with beside_weights(path) as variant:
            ir.save(model, variant)
            answers = _answers(variant, spec, feeds)
        pairs = zip(answers, expected, strict=True)
        return float(np.mean([max(map(_relative_error, *pair)) for pair in pairs]))

    for name in layers:
        measured = error(name)
        if not np.isfinite(measured):
            raise CalibrationError(
                f"{name}: NaN or infinite where it alone is int8; leave it out with --exclude {name!r}"
            )
        yield name, measured


def _answers(path: Path, spec: GraphSpec, feeds: Sequence[Feeds]) -> list[list[NDArray[np.float64]]]:
    """All outputs of the graph for each of `feeds`."""
    with closing(open_engine("onnxruntime", path, spec, "int8+fp32")) as engine:
        answers = [engine(one) for one in feeds]
    return [[outputs[tensor.name].astype(np.float64) for tensor in spec.outputs] for outputs in answers]


def _relative_error(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), TINY))
