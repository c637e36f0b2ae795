"""Checkpoint to bundle: merge and fold -> ONNX -> precision -> golden vectors -> parity gate -> bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from glesam.model import GleSam
from glesam.reference import Model, reference_manifest, torch_engines
from glesam.two_way import dead_mask_heads
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import decoder_precision, lower_precision
from glesam_export.golden import write_golden
from glesam_export.graphs import Graph, graphs
from glesam_export.robust_graphs import robust_graphs
from glesam_export.to_onnx import OPSETS, free_memory, onnx_from_graph
from glesam_runtime.bundle.writer import CALIBRATION, GraphRecord, bundle_document, provenance, write_bundle
from glesam_runtime.output import replaced_folder
from glesam_runtime.tools.measure import ImageSets, measure, reference_cases
from glesam_runtime.tools.parity import MIN_IOU, Parity, check, table

Report = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """How to convert a model, and what the result must pass.

    Attributes:
        precision: what the graphs compute in: fp32, fp16 or bf16.
        opset: version of ONNX's operators.
        min_iou: least mean mask IoU against the reference; None takes the precision's own.
    """

    precision: str = "fp32"
    opset: int = OPSETS[0]
    min_iou: float | None = None

    @property
    def least_iou(self) -> float:
        """The limit of the parity gate."""
        return MIN_IOU[self.precision] if self.min_iou is None else self.min_iou


def export_bundle(
    model: Model,
    made_from: Mapping[str, Path],
    out: Path,
    images: ImageSets,
    options: ExportOptions,
    report: Report = print,
) -> Parity:
    """Writes the float bundle of `model` to `out`, whole or not at all.

    Args:
        model: on the CPU, in eval mode.
        made_from: the files that the model was read from, by their names in bundle.json.
        images: photographs to measure parity on, by the name of their set.

    Returns:
        The bundle's parity with PyTorch.

    Raises:
        ExportError: a fold or a conversion failed.
        OutputError: `out` exists and is no bundle, or cannot be written.
        ParityError: the bundle does not compute what PyTorch computes; nothing is written.
    """
    numbers = reference_manifest(model)
    # A head is dead if training without it has worn its weights down to about 0.
    if isinstance(model, GleSam) and (dead := dead_mask_heads(model.mask_decoder)):
        report(f"no multimask: the decoder's mask heads {', '.join(map(str, dead))} are dead")
    with replaced_folder(out) as folder:
        # Merges LoRA, folds GLE's constants and rewrites the networks, one graph at a time.
        parts = graphs(model) if isinstance(model, GleSam) else robust_graphs(model)
        written = {graph.name: write_graph(graph, folder, options, report) for graph in parts}
        free_memory()
        report("PyTorch fp32: its answers are the reference")
        cases = reference_cases(numbers, torch_engines(model), images)
        write_golden(folder, cases)
        statistics = table_beside(made_from)
        if statistics and options.precision == "fp32":
            shutil.copyfile(statistics, folder / CALIBRATION)  # glesam-quantize finds it there
        document = bundle_document(numbers, options.precision, written, provenance(made_from))
        parity = measure(write_bundle(folder, document), cases)
        for line in ("parity against PyTorch fp32", *table(parity).split("\n")):
            report(line)
        check(parity, options.least_iou)
        write_bundle(folder, document | {"parity": parity.to_json()})
    return parity


def write_graph(graph: Graph, folder: Path, options: ExportOptions, report: Report) -> GraphRecord:
    """Converts one graph to ONNX in the bundle's precision and writes it to `folder`."""
    for fold in graph.folds:
        report(str(fold))
    report(f"{graph.name}: exporting")
    model = onnx_from_graph(graph, options.opset)
    # Islands: operators or layers that stay in fp32 in a lower precision, each with its reason.
    precision, islands = options.precision, dict[str, str]()
    if graph.name == "mask_decoder":
        precision, islands = decoder_precision(precision)
    if precision != "fp32":
        islands = lower_precision(model, precision)
    file = f"{graph.name}.onnx"
    save_onnx(model, folder / file)
    folds = [asdict(fold) for fold in graph.folds]
    return GraphRecord(file, precision, islands, folds, [*graph.example, *graph.outputs])


def table_beside(made_from: Mapping[str, Path]) -> Path | None:
    """The calibration table in the checkpoint's folder; None where there is none."""
    tables = (file.with_name(CALIBRATION) for file in made_from.values())
    return next((path for path in tables if path.is_file()), None)
