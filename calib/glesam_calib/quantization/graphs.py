"""From the graphs of a float bundle to int8 graphs: Q/DQ, and high precision for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from glesam_calib.graph.files import allow_half_scales, save_onnx
from glesam_calib.graph.precision import decoder_precision, lower_precision
from glesam_calib.observation.observe import GRAPHS as OBSERVED
from glesam_calib.observation.table import CalibrationTable
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import SCALE_TYPES, Quantization, Quantized, quantize
from glesam_calib.quantization.targets import TARGETS
from glesam_calib.quantization.weight_only import store_weights_in_int8
from glesam_runtime import Bundle
from glesam_runtime.engines import INT8
from glesam_runtime.errors import CalibrationError
from glesam_runtime.tools.progress import track_in


@dataclass(frozen=True)
class QuantizedGraph:
    """What became of one graph; `int8` is None for the mask decoder, which computes in float."""

    precision: str
    fp32_islands: Mapping[str, str]
    int8: Quantized | None

    def to_json(self) -> dict[str, Any]:
        """The fields of bundle.json that quantization changes."""
        fields: dict[str, Any] = {"precision": self.precision, "fp32_islands": dict(self.fp32_islands)}
        return fields | ({"int8": asdict(self.int8)} if self.int8 else {})


def write_graphs(
    floats: Bundle, table: CalibrationTable, folder: Path, options: Quantization
) -> dict[str, QuantizedGraph]:
    """Writes the int8 graphs of an fp32 bundle to `folder`, under the names of the float ones.

    Raises:
        CalibrationError: the table belongs to another graph, a pattern fits no layer, or none is left.
        ConversionError: a weight does not fit fp16.
    """
    graphs = floats.manifest.graphs
    models = {name: ir.load(floats.graph_path(name)) for name in graphs}
    options.policy.check([layer.name for name in OBSERVED for layer in layers_of(models[name].graph)])
    written = {}
    for name, model in models.items():
        written[name] = _encode(model, name, table, options)
        save_onnx(model, folder / graphs[name].file)
    if not any(graph.int8.layers for graph in written.values() if graph.int8):
        raise CalibrationError(
            "no layer is left in int8: all are excluded, or each costs too much alone; "
            "exclude fewer, or export with --precision fp16, bf16 or fp32"
        )
    return written


def _encode(model: ir.Model, name: str, table: CalibrationTable, options: Quantization) -> QuantizedGraph:
    """Quantizes one graph in place and converts the rest of it to high precision."""
    precision, islands, int8 = options.high_precision, dict[str, str](), None
    if name in OBSERVED:
        statistics = table.of_graph(name, model.graph)
        int8 = quantize(model.graph, statistics, options, table.sensitivity.get(name), track_in(name))
        precision = f"{INT8}+{precision}"
    else:
        precision, islands = decoder_precision(precision)
        if options.decoder_weights_in_int8:
            store_weights_in_int8(model.graph, SCALE_TYPES[options.high_precision])
    rest = precision.rpartition("+")[2]
    if rest != "fp32":
        islands = lower_precision(
            model, rest, for_orin=int8 is not None and not TARGETS[options.target].half_scales
        )
    if options.high_precision == "fp16":
        allow_half_scales(model)
    return QuantizedGraph(precision, islands, int8)
