"""Checkpoint to bundle: merge -> fold -> ONNX -> precision -> golden vectors -> parity -> bundle."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glesam.model import GleSam
from glesam.sam import dead_mask_heads
from glesam_export.golden import write_golden
from glesam_export.graphs import Graph, graphs
from glesam_export.manifest import GraphRecord, provenance, write_manifest
from glesam_export.parity import ImageSets, measure, reference_cases
from glesam_export.precision import lower_precision
from glesam_export.reference import reference_manifest, torch_engines
from glesam_export.replaced_folder import replaced_folder
from glesam_export.to_onnx import OPSETS, onnx_from_graph, save_onnx
from glesam_runtime import Bundle
from glesam_runtime.parity import MIN_IOU, Parity, check, table

Report = Callable[[str], None]
FP32_DECODER = "logits decide where a mask ends, and bf16 keeps 8 bits of them; it is 1 % of the work"


@dataclass(frozen=True)
class ExportOptions:
    """`min_iou`: least mean mask IoU against PyTorch fp32; None takes the precision's own."""

    precision: str = "fp32"
    opset: int = OPSETS[0]
    min_iou: float | None = None


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
        ExportError: a fold, a conversion or `out` failed.
        ParityError: the bundle does not compute what PyTorch computes; nothing is written.
    """
    if dead := dead_mask_heads(model.mask_decoder):
        report(f"no multimask: the decoder's mask heads {', '.join(map(str, dead))} are dead")
    with replaced_folder(out) as folder:
        records = {}
        for graph in graphs(model):
            for fold in graph.folds:
                report(str(fold))
            report(f"{graph.name}: exporting")
            records[graph.name] = _write_graph(folder, graph, options)
        free_memory()
        report("PyTorch fp32: what the bundle has to answer")
        cases = reference_cases(reference_manifest(model), torch_engines(model), images)
        write_golden(folder, cases)
        origin = provenance(made_from)

        def write(parity: dict[str, object]) -> None:
            write_manifest(folder, model.config, not dead, options.precision, records, origin, parity)

        write({})
        report("parity against PyTorch fp32")
        parity = measure(Bundle.open(folder), cases)
        report(table(parity))
        check(parity, MIN_IOU[options.precision] if options.min_iou is None else options.min_iou)
        write(parity.to_json())
        Bundle.open(folder)  # what is handed over has passed the reader that will open it
    return parity


def free_memory() -> None:
    """Gives back what the exporter leaves in cycles and malloc in its pools: gigabytes at full size."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


def _write_graph(folder: Path, graph: Graph, options: ExportOptions) -> GraphRecord:
    file = f"{graph.name}.onnx"
    model = onnx_from_graph(graph, options.opset)
    precision, islands = options.precision, dict[str, str]()
    if precision == "bf16" and graph.name == "mask_decoder":
        precision, islands = "fp32", {"mask_decoder": FP32_DECODER}
    elif precision != "fp32":
        islands = lower_precision(model, precision)
    save_onnx(model, folder / file)
    return GraphRecord(file, precision, islands, graph.folds)
