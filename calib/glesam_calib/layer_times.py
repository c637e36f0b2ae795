"""What each layer saves in int8: a layer that saves little time may cost little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

import onnx_ir as ir

from glesam_calib.graph.files import beside_weights
from glesam_calib.observation.observe import GRAPHS
from glesam_calib.observation.table import CalibrationTable
from glesam_calib.quantization.layers import Layer, layers_of
from glesam_calib.quantization.quantize import Quantization, quantize
from glesam_runtime import Bundle
from glesam_runtime.engines.base import Array
from glesam_runtime.engines.openvino import StepTime, step_times

LEAST_SHARE = 0.1
"""Least share of the mean that a layer counts as saving: in float, its neighbours would lose time, too."""


def saved_by_layers(
    bundle: Bundle, table: CalibrationTable, options: Quantization, feeds: Mapping[str, Mapping[str, Array]]
) -> dict[str, dict[str, float]]:
    """Milliseconds that each layer saves by being int8 among int8 layers, by graph and layer, in OpenVINO.

    Negative where float is faster. Left out is a layer whose name OpenVINO drops when it fuses it.

    Args:
        feeds: inputs of each graph.

    Raises:
        BackendError: OpenVINO refuses a graph.
    """
    fastest = replace(options, high_precision="fp32", tolerance=inf)
    saved = {}
    for name in GRAPHS:
        path = bundle.graph_path(name)
        model = ir.load(path)
        layers = layers_of(model.graph)
        names = {layer.name: _own_names(layer) for layer in layers}
        in_float = step_times(path, "fp32", feeds[name])
        done = quantize(model.graph, table.of_graph(name, model.graph), fastest, table.sensitivity[name])
        with beside_weights(path) as variant:
            ir.save(model, variant)
            in_int8 = step_times(variant, "int8+fp32", feeds[name])
        times = {
            layer: [_milliseconds(of, names[layer]) for of in (in_float, in_int8)] for layer in done.layers
        }
        saved[name] = {layer: before - after for layer, (before, after) in times.items() if before and after}
    return saved


def weighted(
    sensitivity: Mapping[str, Mapping[str, float]], saved: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Returns what each layer costs for the time it saves: e / sqrt(t / mean t).

    Errors of layers add up in squares, times as they are: of all choices with the same sum of times, the one
    with the least sum of squares leaves the layers of the largest e^2 / t in float.
    """
    times = [max(one, 0.0) for of_graph in saved.values() for one in of_graph.values()]
    mean = sum(times) / max(len(times), 1) or 1.0
    return {
        graph: {
            layer: error / max(saved[graph].get(layer, mean) / mean, LEAST_SHARE) ** 0.5
            for layer, error in errors.items()
        }
        for graph, errors in sensitivity.items()
    }


def _own_names(layer: Layer) -> Sequence[str]:
    """Names that OpenVINO may give the layer: its own, or that of the bias added to it."""
    return [layer.name, *_bias_names(layer)]


def _bias_names(layer: Layer) -> Iterator[str]:
    uses = list(layer.node.outputs[0].uses())
    if layer.node.op_type == "MatMul" and len(uses) == 1 and uses[0].node.op_type == "Add":
        others = [value for value in uses[0].node.inputs if value is not layer.node.outputs[0]]
        if others[0] is not None and others[0].const_value is not None:
            yield str(uses[0].node.name)


def _milliseconds(steps: Sequence[StepTime], names: Sequence[str]) -> float:
    """The time of the steps that compute a node of one of `names`."""

    def is_own(node: str) -> bool:
        return any(node == name or node.startswith(f"{name}/") for name in names)

    return sum(step.milliseconds for step in steps if any(map(is_own, step.nodes)))
