"""Bundles against PyTorch's golden answers: the evidence that a backend and a precision ran on a machine.

    python benchmarks/golden_parity.py [BUNDLE]... [--backend onnxruntime --backend openvino]

Runs what glesam-verify runs: graph by graph and from picture to mask, on the inputs that travel in a bundle.
A backend that refuses a bundle is named and has no row. Takes seconds for each bundle and backend of nano.
"""

from __future__ import annotations

from itertools import product

import typer
from harness.options import BackendsOption, BundlesArgument, NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam_runtime import Bundle
from glesam_runtime.engines import open_engines
from glesam_runtime.errors import BackendError, first_line
from glesam_runtime.tools.verify import verify

LABELS = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT for RTX",
}


def main(
    bundles: BundlesArgument = None,
    backend: BackendsOption = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("backends", "Golden vectors against PyTorch fp32")
    rows = []
    for path, name in product(bundles or [None], backend or ["onnxruntime", "openvino"]):
        bundle = Bundle.open(path)
        try:
            rows.append(parity_row(bundle, name))
        except BackendError as error:
            print(
                f"{name} refuses {bundle.manifest.name} in {bundle.manifest.precision}: {first_line(error)}"
            )
    run.finish(rows, record, note)


def parity_row(bundle: Bundle, backend: str) -> Row:
    """Returns the worst relative error of an output, and mask IoU: the worse picture's mean, the worst."""
    parity = verify(bundle, open_engines(backend, bundle))
    pictures = parity.mask_iou.values()
    return {
        "backend": LABELS.get(backend, backend),
        "model": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "relative_error": float(f"{max(graph.relative for graph in parity.graphs.values()):.1e}"),
        "mean_iou": round(min(each.mean for each in pictures), 5),
        "worst_iou": round(min(each.worst for each in pictures), 5),
        "masks": sum(each.masks for each in pictures),
    }


if __name__ == "__main__":
    typer.run(main)
