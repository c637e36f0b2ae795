"""What a layer saves by being int8: one that saves little time may cost little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path

import onnx_ir as ir

from glesam_calib.graph.files import beside_weights
from glesam_calib.observation.table import Statistics
from glesam_calib.quantization.quantize import Quantization, quantize
from glesam_calib.quantization.targets import TARGETS
from glesam_calib.speed import milliseconds
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.tools.progress import track

TIMED = 24
"""Number of layers of a graph that are timed, the costliest: no search comes to the others soon."""
ROUNDS = 9
"""Number of runs of each engine that count."""
LEAST_SHARE = 0.1
"""Least share of the mean that a layer counts as saving."""


def saved_by_layers(
    path: Path,
    spec: GraphSpec,
    statistics: Statistics,
    errors: Mapping[str, float],
    options: Quantization,
    feeds: Mapping[str, Array],
) -> dict[str, float]:
    """Milliseconds that each of the `TIMED` costliest layers saves, on the target's backend on this machine.

    That is how much longer the int8 graph takes with this layer in float, conversions on both sides of it
    included; negative where it is faster so. Layers that the policy decides about are not timed.

    Args:
        path, spec: an fp32 graph.
        errors: what each layer costs, by its name.
    """
    may_return = filter(options.policy.may_return, errors)
    timed = sorted(may_return, key=lambda name: -errors[name])[:TIMED]
    if not timed:
        return {}
    saved = {}
    with _int8_engine(path, spec, statistics, options, errors) as whole:
        for layer in track(timed, len(timed), f"layers of {spec.name} timed"):
            policy = replace(options.policy, exclude=(*options.policy.exclude, layer))
            without = replace(options, policy=policy)
            with _int8_engine(path, spec, statistics, without, errors) as engine:
                int8_ms, float_ms = milliseconds([whole, engine], feeds, ROUNDS)
            saved[layer] = float_ms - int8_ms
    return saved


def weighted(
    sensitivity: Mapping[str, Mapping[str, float]], saved: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Returns what each layer costs for the time it saves: e / sqrt(t / mean t), by graph and layer.

    Errors of layers add up in squares, times as they are: of all choices with the same sum of times, the one
    with the least sum of squares leaves the layers of the largest e^2 / t in float. A layer that was not
    timed counts with the mean. One that saves less than `LEAST_SHARE` of the mean, or nothing, counts with
    that share: most such times are noise.
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


@contextmanager
def _int8_engine(
    path: Path, spec: GraphSpec, statistics: Statistics, options: Quantization, errors: Mapping[str, float]
) -> Iterator[Engine]:
    """Opens the graph with every layer in int8 that the policy takes, whatever it costs."""
    model = ir.load(path)
    quantize(model.graph, statistics, replace(options, high_precision="fp32", tolerance=inf), errors)
    with beside_weights(path) as variant:
        ir.save(model, variant)
        with closing(open_engine(TARGETS[options.target].backend, variant, spec, "int8+fp32")) as engine:
            yield engine
