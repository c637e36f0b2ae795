"""Checkpoint to bundle: merge -> fold -> ONNX -> precision -> golden vectors -> parity -> bundle."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from glesam.model import GleSam
from glesam.reference import reference_manifest, torch_engines
from glesam.sam import dead_mask_heads
from glesam_calib.graph.precision import decoder_precision, lower_precision
from glesam_calib.pipeline import Int8, Int8Export
from glesam_export.assembly import Assembly, Records
from glesam_export.golden import write_golden
from glesam_export.graphs import Graph, graphs
from glesam_export.to_onnx import OPSETS, onnx_from_graph, save_onnx
from glesam_runtime.bundle.writer import GraphRecord, provenance
from glesam_runtime.output import replaced_folder, scratch_folder
from glesam_runtime.tools.measure import ImageSets, measure, reference_cases
from glesam_runtime.tools.parity import MIN_IOU, Parity, check, table

Report = Callable[[str], None]


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
    assembly = Assembly(model.config, not dead, provenance(made_from))
    int8, precision = options.int8, options.precision
    min_iou = MIN_IOU[precision] if options.min_iou is None else options.min_iou
    with replaced_folder(out) as folder, _folder_of_floats(folder, out, int8) as float_folder:
        kind = precision if int8 is None else "fp32"
        records = _float_graphs(model, float_folder, kind, options.opset, report)
        report("PyTorch fp32: what the bundle has to answer")
        cases = reference_cases(reference_manifest(model), torch_engines(model), images)
        write_golden(folder, cases)
        bundle = assembly.write(float_folder, kind, records, {})
        report("parity against PyTorch fp32")
        if int8 is not None:
            return Int8Export(assembly, bundle, records, folder, cases, int8, report).run(min_iou)
        parity = measure(bundle, cases)
        report(table(parity))
        check(parity, min_iou)
        assembly.write(folder, kind, records, parity.to_json())
    return parity


def _folder_of_floats(folder: Path, out: Path, int8: Int8 | None) -> AbstractContextManager[Path]:
    """Where float graphs are written: into the bundle, or for int8, which is made of them, beside it."""
    return nullcontext(folder) if int8 is None else scratch_folder(out.with_name(f"{out.name}-float"))


def _float_graphs(model: GleSam, folder: Path, precision: str, opset: int, report: Report) -> Records:
    records = {}
    for graph in graphs(model):
        for fold in graph.folds:
            report(str(fold))
        report(f"{graph.name}: exporting")
        records[graph.name] = _write_graph(folder, graph, precision, opset)
    free_memory()
    return records


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
