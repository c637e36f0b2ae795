"""What a layer saves by being int8: one that saves little time may cost little."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from statistics import median

import onnx_ir as ir

from glesam_calib.graph.files import beside_weights
from glesam_calib.observation.table import Statistics
from glesam_calib.quantization.quantize import Quantization, quantize
from glesam_calib.quantization.targets import TARGETS
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.base import Array

TIMED = 24
"""Number of layers of a graph that are timed, the costliest: no search comes to the others soon."""
ROUNDS = 9
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
    included; negative where it is faster so.

    Args:
        path, spec: an fp32 graph.
        errors: what each layer costs, by its name.
    """
    saved = {}
    with _int8_engine(path, spec, statistics, options, errors) as whole:
        for layer in sorted(errors, key=lambda name: -errors[name])[:TIMED]:
            policy = replace(options.policy, exclude=(*options.policy.exclude, layer))
            without = replace(options, policy=policy)
            with _int8_engine(path, spec, statistics, without, errors) as engine:
                times = _milliseconds([whole, engine], feeds)
            saved[layer] = times[1] - times[0]
    return saved


def weighted(
    sensitivity: Mapping[str, Mapping[str, float]], saved: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Returns what each layer costs for the time it saves: e / sqrt(t / mean t), by graph and layer.

    Errors of layers add up in squares, times as they are: of all choices with the same sum of times, the one
    with the least sum of squares leaves the layers of the largest e^2 / t in float. A layer that was not
    timed counts with the mean.
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
        engine = open_engine(TARGETS[options.target].backend, variant, spec, "int8+fp32")
        try:
            yield engine
        finally:
            engine.close()


def _milliseconds(engines: Sequence[Engine], feeds: Mapping[str, Array]) -> list[float]:
    """The median time of each engine, run in turns."""
    spent: list[list[float]] = [[] for _ in engines]
    for round_number in range(ROUNDS + 1):
        for engine, times in zip(engines, spent, strict=True):
            start = time.perf_counter()
            engine(dict(feeds))
            if round_number:
                times.append(1000 * (time.perf_counter() - start))
    return [median(times) for times in spent]
