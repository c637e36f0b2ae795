"""From an fp32 bundle to int8 graphs: Q/DQ, high precision for what is left, and whether that is faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import onnx_ir as ir

from glesam_calib import CalibrationError, CalibrationTable, Quantization
from glesam_calib.graph.precision import decoder_precision, lower_precision
from glesam_calib.observation.observe import GRAPHS as OBSERVED
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import SCALE_TYPES, quantize
from glesam_calib.quantization.weight_only import store_weights_in_int8
from glesam_export.to_onnx import save_onnx
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import GraphRecord
from glesam_runtime.engines import INT8, computes_int8, open_engine, pick_backend
from glesam_runtime.errors import NotFasterError
from glesam_runtime.tools.measure import Case

ROUNDS = 5


def quantized_graphs(
    source: Bundle,
    table: CalibrationTable,
    folder: Path,
    records: dict[str, GraphRecord],
    options: Quantization,
) -> dict[str, GraphRecord]:
    """Writes the int8 graphs of an fp32 bundle to `folder`; `records` are those of its own graphs.

    Raises:
        CalibrationError: the table is another graph's, or a pattern fits no layer.
        ConversionError: a weight does not fit fp16.
    """
    models = {name: ir.load(source.graph_path(name)) for name in records}
    options.policy.check([layer.name for name in OBSERVED for layer in layers_of(models[name].graph)])
    written, found = {}, 0
    for name, model in models.items():
        precision, islands = options.high_precision, dict[str, str]()
        if name in OBSERVED:
            done = quantize(
                model.graph, table.of_graph(name, model.graph), options, table.sensitivity.get(name)
            )
            precision = f"{INT8}+{precision}"
            found += len(done.layers)
        else:
            done = None
            precision, islands = decoder_precision(precision)
            if options.decoder_weights_in_int8:
                store_weights_in_int8(model.graph, SCALE_TYPES[options.high_precision])
        if not precision.endswith("fp32"):
            islands = lower_precision(model, precision.rpartition("+")[2])
        save_onnx(model, folder / records[name].file)
        written[name] = replace(records[name], precision=precision, fp32_islands=islands, int8=done)
    if not found:
        raise CalibrationError(
            "no layer is left in int8: all are excluded, or each costs too much alone; "
            "exclude fewer, or export with --precision fp16, bf16 or fp32"
        )
    return written


@dataclass(frozen=True)
class Speed:
    """Milliseconds of encoder and GLE together, on one backend, in one interleaved run."""

    backend: str
    float_ms: float
    int8_ms: float
    known: bool
    """Whether that backend computes the int8 layers in int8."""

    @property
    def ratio(self) -> float:
        """Above 1: int8 is faster."""
        return self.float_ms / self.int8_ms

    def __str__(self) -> str:
        times = f"int8 {self.int8_ms:.1f} ms, float {self.float_ms:.1f} ms ({self.ratio:.2f}x)"
        return f"encoder and GLE on {self.backend}: {times}"

    def check(self, report: Callable[[str], None]) -> None:
        """Raises NotFasterError where int8 is slower although it runs in int8; warns where it does not."""
        if not self.known:
            report(f"warning: {self}; {self.backend} computes these int8 layers in float, a target may not")
        elif self.int8_ms >= self.float_ms:
            raise NotFasterError(
                f"{self}: int8 is not faster here; export with --precision bf16, fp16 or fp32, or with "
                "--no-speed-gate for a target elsewhere"
            )
        else:
            report(str(self))


def measure_speed(floats: Bundle, bundle: Bundle, case: Case, backend: str = "auto") -> Speed:
    """`bundle` against the fp32 graphs it came from, the rest in the same arithmetic. Median of `ROUNDS`."""
    totals = {"float": 0.0, "int8": 0.0}
    known = True
    for name in OBSERVED:
        graph = bundle.manifest.graphs[name]
        chosen, _ = pick_backend(backend, graph.precision)
        known = known and computes_int8(chosen, graph.precision)
        rest = graph.precision.rpartition("+")[2]
        engines = {
            "float": open_engine(chosen, floats.graph_path(name), graph.spec, rest),
            "int8": open_engine(chosen, bundle.graph_path(name), graph.spec, graph.precision),
        }
        feeds = case.feeds(name, case.expected)
        spent: dict[str, list[float]] = {which: [] for which in engines}
        for round_number in range(ROUNDS + 1):
            for which, engine in engines.items():
                start = time.perf_counter()
                engine(feeds)
                if round_number:
                    spent[which].append(1000 * (time.perf_counter() - start))
        for which, engine in engines.items():
            engine.close()
            totals[which] += median(spent[which])
    return Speed(chosen, totals["float"], totals["int8"], known)
