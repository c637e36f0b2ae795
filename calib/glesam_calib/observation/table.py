"""The calibration table: statistics of tensors, their graphs and their pictures, in one JSON file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.quantization.layers import channels_of, layers_of
from glesam_runtime.errors import CalibrationError
from glesam_runtime.output import write_files

FORMAT_VERSION = 1

Statistics = dict[str, TensorStatistics]


@dataclass
class CalibrationTable:
    """Statistics of what every layer that has a weight reads, and of what convolutions answer.

    Attributes:
        graphs: the hash of every graph, by its name.
        checkpoint: the hashes of the files that the graphs were made from, as in bundle.json.
        tensors: by graph and tensor.
        sensitivity: by graph and layer, as `quantization.sensitivity` measures it; empty where unmeasured.
            While a bundle is made for a target whose layers are timed, these are `layer_times.weighted`.
        samples: names of the samples observed so far, such as "photo.jpg at LQ-3".
        plan: names of all samples to observe, where they are known.
        sensitivity_samples: number of samples on which each layer is to be tried.
        complete: whether the run that wrote this came to its end.
    """

    graphs: Mapping[str, str]
    checkpoint: Mapping[str, str]
    tensors: dict[str, Statistics] = field(default_factory=dict)
    sensitivity: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    plan: Sequence[str] = ()
    sensitivity_samples: int = 0
    complete: bool = True

    def of_graph(self, name: str, graph: ir.Graph) -> Statistics:
        """The statistics of a graph's tensors.

        Raises:
            CalibrationError: the table belongs to another graph, or is damaged.
        """
        sha256 = graph_hash(graph)
        if self.graphs.get(name) != sha256:
            known = self.graphs.get(name, "none")
            raise CalibrationError(
                f"calibration table: {name} has hash {sha256[:12]}, the table is of {known[:12]}, another "
                "graph; run glesam-calibrate on this model's fp32 bundle, or give --calib-images"
            )
        if not fits(_channels(self.tensors[name]), graph):
            raise CalibrationError(
                f"calibration table: it is damaged, {name}'s tensors are not the graph's; "
                "move it away, and run glesam-calibrate again"
            )
        return self.tensors[name]

    def check_graphs(self, graphs: Mapping[str, ir.Graph]) -> None:
        """Raises CalibrationError where the table is of other graphs than these, or is damaged."""
        for name, graph in graphs.items():
            self.of_graph(name, graph)
        for name in self.graphs.keys() - graphs.keys():
            raise CalibrationError(
                f"calibration table: it has a graph {name}, expected {' and '.join(graphs)}; "
                "move it away, and run glesam-calibrate again"
            )

    def check_checkpoint(self, checkpoint: Mapping[str, str]) -> None:
        """Raises CalibrationError where the table belongs to other weights."""
        for name, sha256 in checkpoint.items():
            if self.checkpoint.get(name) != sha256:
                known = self.checkpoint.get(name, "none")
                raise CalibrationError(
                    f"calibration table: {name} is {sha256[:12]}, the table is of {known[:12]}, other "
                    "weights; run glesam-calibrate on this model's fp32 bundle, or give --calib-images"
                )

    def continued(self, empty: CalibrationTable) -> CalibrationTable:
        """Returns this table, to be resumed for the model and the plan of `empty`.

        Raises:
            CalibrationError: it belongs to other graphs, weights, pictures or levels, is damaged, or is from
                before what convolutions answer was observed.
        """
        channels, expected = (
            {name: _channels(tensors) for name, tensors in each.tensors.items()} for each in (self, empty)
        )
        if (self.graphs, self.checkpoint) != (empty.graphs, empty.checkpoint):
            fault = "another model's"
        elif not all(channels[name].items() <= expected[name].items() for name in expected):
            fault = "damaged"
        elif channels != expected:
            fault = "an earlier version's, which observed fewer tensors"
        elif list(self.plan) != list(empty.plan):
            fault = "of other pictures, levels or samples"
        elif self.sensitivity_samples not in (0, empty.sensitivity_samples):
            fault = f"of --sensitivity {self.sensitivity_samples}"
        else:
            return self
        raise CalibrationError(
            f"the calibration table that is there is {fault}; choose another --out, or move it away"
        )

    def check_complete(self) -> None:
        """Raises CalibrationError where the run that wrote this was killed."""
        if not self.complete:
            raise CalibrationError(
                "calibration table: glesam-calibrate was interrupted "
                f"({len(self.samples)} of {len(self.plan)} samples observed); run that command again"
            )

    def save(self, path: Path) -> None:
        """Replaces `path` in one step. Raises OutputError where it cannot be written."""
        document = {
            "format_version": FORMAT_VERSION,
            "checkpoint": dict(self.checkpoint),
            "samples": self.samples,
            "plan": list(self.plan),
            "sensitivity_samples": self.sensitivity_samples,
            "complete": self.complete,
            "graphs": {
                name: {
                    "sha256": sha256,
                    "sensitivity": self.sensitivity.get(name, {}),
                    "tensors": {t: s.to_json() for t, s in self.tensors[name].items()},
                }
                for name, sha256 in self.graphs.items()
            },
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"
        write_files({Path(os.path.realpath(path)): text.encode()})

    @classmethod
    def load(cls, path: Path) -> CalibrationTable:
        """Raises CalibrationError where the file is missing or is no calibration table."""
        try:
            document: dict[str, Any] = json.loads(path.read_text())
            if document["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format_version {document['format_version']}, expected {FORMAT_VERSION}")
            graphs: dict[str, Any] = document["graphs"]
            return cls(
                {name: str(graph["sha256"]) for name, graph in graphs.items()},
                {str(name): str(sha256) for name, sha256 in document["checkpoint"].items()},
                {name: _statistics(graph["tensors"]) for name, graph in graphs.items()},
                {name: _errors(graph["sensitivity"]) for name, graph in graphs.items()},
                _names(document["samples"]),
                _names(document.get("plan", [])),
                int(document.get("sensitivity_samples", 0)),
                document.get("complete", True) is True,
            )
        except OSError as error:
            raise CalibrationError(
                f"{path}: cannot be read ({error.strerror}); glesam-calibrate writes one"
            ) from error
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise CalibrationError(
                f"{path}: not a calibration table ({type(error).__name__}: {error}); "
                "move it away, and let glesam-calibrate write one"
            ) from error


def _statistics(records: Mapping[str, Any]) -> Statistics:
    return {name: TensorStatistics.from_json(record) for name, record in records.items()}


def _errors(record: Mapping[str, Any]) -> dict[str, float]:
    errors = {str(layer): float(error) for layer, error in record.items()}
    if not all(0 <= error < math.inf for error in errors.values()):
        raise ValueError("a sensitivity is negative, infinite or NaN")
    return errors


def _names(record: object) -> list[str]:
    if not isinstance(record, list):
        raise TypeError(f"expected a list of samples, found {type(record).__name__}")
    return [str(name) for name in record]


def fits(channels: Mapping[str, int], graph: ir.Graph) -> bool:
    """Whether these numbers of channels are those of a graph's tensors; tables of before lack the answers."""
    expected = {name: channels.count for name, channels in channels_of(graph).items()}
    read = {str(layer.input.name) for layer in layers_of(graph)}
    return read <= channels.keys() and channels.items() <= expected.items()


def _channels(tensors: Statistics) -> dict[str, int]:
    return {name: len(statistics.channel_absmax) for name, statistics in tensors.items()}


def graph_hash(graph: ir.Graph) -> str:
    """sha256 of what a table depends on: the layers, the tensors they read, and their weights' shapes.

    The weights are left out: merging LoRA rounds differently on another CPU. `CalibrationTable.checkpoint`
    identifies the files that they came from.
    """
    layers = [
        [layer.name, layer.input.name, layer.channel_axis, list(layer.weight_shape)]
        for layer in layers_of(graph)
    ]
    return hashlib.sha256(json.dumps(layers).encode()).hexdigest()
