"""Checkpoint to bundle: merge -> fold -> ONNX -> precision -> golden vectors -> parity -> bundle."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from glesam.model import GleSam
from glesam.sam import dead_mask_heads
from glesam_calib import CalibrationTable, Quantization, Sample, calibrate, empty_table
from glesam_calib.observe import checkpoint_of
from glesam_export.golden import write_golden
from glesam_export.graphs import Graph, graphs
from glesam_export.int8 import measure_speed, quantized_graphs
from glesam_export.manifest import GraphRecord, provenance, write_manifest
from glesam_export.parity import ImageSets, measure, reference_cases
from glesam_export.precision import decoder_precision, lower_precision
from glesam_export.progress import track
from glesam_export.reference import reference_manifest, torch_engines
from glesam_export.replaced_folder import replaced_folder, scratch_folder
from glesam_export.to_onnx import OPSETS, onnx_from_graph, save_onnx
from glesam_runtime import Bundle
from glesam_runtime.engines import INT8
from glesam_runtime.parity import MIN_IOU, Parity, check, table

Report = Callable[[str], None]


@dataclass(frozen=True)
class Int8:
    """How to quantize, and by whose statistics: a table's, or those of pictures observed now."""

    quantization: Quantization
    table: CalibrationTable | None
    samples: Sequence[Sample] = ()


@dataclass(frozen=True)
class ExportOptions:
    """`min_iou`: least mean mask IoU against PyTorch fp32; None takes the precision's own.

    `int8` is given for the precision "int8" and for no other.
    """

    precision: str = "fp32"
    opset: int = OPSETS[0]
    min_iou: float | None = None
    int8: Int8 | None = None


def export_bundle(
    model: GleSam,
    made_from: Mapping[str, Path],
    out: Path,
    images: ImageSets,
    options: ExportOptions,
    report: Report = print,
) -> Parity:
    """Writes the bundle of `model` to `out`, whole or not at all.

    Args:
        model: on the CPU, in eval mode.
        made_from: the files it was read from, by the names their hashes are recorded under.

    Raises:
        ExportError: a fold, a conversion or `out` failed, or int8 is not faster.
        CalibrationError: the statistics are another model's, or pictures cannot be used.
        ParityError: the bundle does not compute what PyTorch computes; nothing is written.
    """
    dead = dead_mask_heads(model.mask_decoder)
    if dead:
        report(f"no multimask: the decoder's mask heads {', '.join(map(str, dead))} are dead")
    origin = provenance(made_from)

    def write(folder: Path, precision: str, records: Records, parity: dict[str, object]) -> Bundle:
        write_manifest(folder, model.config, not dead, precision, records, origin, parity)
        return Bundle.open(folder)

    with ExitStack() as stack:
        folder = stack.enter_context(replaced_folder(out))
        floats: Bundle | None = None
        precision = options.precision
        if options.int8 is None:
            records = _float_graphs(model, folder, precision, options.opset, report)
        else:
            float_folder = stack.enter_context(scratch_folder(out.with_name(f"{out.name}-float")))
            records = _float_graphs(model, float_folder, "fp32", options.opset, report)
            floats = write(float_folder, "fp32", records, {})
            records = _int8_graphs(floats, folder, records, options.int8, report)
            precision = f"{INT8}+{options.int8.quantization.high_precision}"
        report("PyTorch fp32: what the bundle has to answer")
        cases = reference_cases(reference_manifest(model), torch_engines(model), images)
        write_golden(folder, cases)
        report("parity against PyTorch fp32")
        bundle = write(folder, precision, records, {})
        parity = measure(bundle, cases)
        report(table(parity))
        check(parity, MIN_IOU[options.precision] if options.min_iou is None else options.min_iou)
        if floats is not None:
            measure_speed(floats, bundle, cases[0]).check(report)
        write(folder, precision, records, parity.to_json())  # opened once more, as a target will
    return parity


Records = dict[str, GraphRecord]


def _float_graphs(model: GleSam, folder: Path, precision: str, opset: int, report: Report) -> Records:
    records = {}
    for graph in graphs(model):
        for fold in graph.folds:
            report(str(fold))
        report(f"{graph.name}: exporting")
        records[graph.name] = _write_graph(folder, graph, precision, opset)
    free_memory()
    return records


def _int8_graphs(floats: Bundle, folder: Path, records: Records, int8: Int8, report: Report) -> Records:
    statistics = int8.table
    if statistics is None:
        report(f"calibrating on {len(int8.samples)} pictures")
        statistics = empty_table(floats)
        calibrate(floats, track(int8.samples, "pictures observed", len(int8.samples)), statistics)
    statistics.check_checkpoint(checkpoint_of(floats))
    written = quantized_graphs(floats, statistics, folder, records, int8.quantization)
    for name, record in written.items():
        if record.int8 is not None:
            report(f"{name}: {record.int8}")
    free_memory()
    return written


def free_memory() -> None:
    """Gives back what the exporter leaves in cycles and malloc in its pools: gigabytes at full size."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


def _write_graph(folder: Path, graph: Graph, precision: str, opset: int) -> GraphRecord:
    file = f"{graph.name}.onnx"
    model = onnx_from_graph(graph, opset)
    islands = dict[str, str]()
    if graph.name == "mask_decoder":
        precision, islands = decoder_precision(precision)
    if precision != "fp32":
        islands = lower_precision(model, precision)
    save_onnx(model, folder / file)
    return GraphRecord(file, precision, islands, graph.folds)
