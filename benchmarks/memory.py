"""Resident memory of this process while a bundle is loaded and while it runs, for each backend.

    python benchmarks/memory.py [BUNDLE]... [--backend NAME]...

Default: every backend for ONNX. Each row is a process of its own. `weights` are the bundle's graph files;
`imports` is what Python and the libraries take before. The others are above that: at the peak of loading,
once loaded, after three pictures of 640 x 480 pixels, and at the peak of those. Pages of mapped files count
where they are in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import typer
from harness.options import BackendsOption, BundlesArgument, NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam_runtime import Bundle, Predictor
from glesam_runtime.engines import ONNX_BACKENDS
from glesam_runtime.engines.choice import split_backend
from glesam_runtime.tools.bench.measure import middle, synthetic_image
from glesam_runtime.tools.machine import HostMemory, host_memory

PICTURES = 3


def main(
    bundles: BundlesArgument = None,
    backend: BackendsOption = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    paths: Sequence[Path | None] = bundles or [None]
    run = Run.begin("nano_speed", "Memory of one process by backend")
    rows = [in_a_process(path, name) for path, name in product(paths, backend or ONNX_BACKENDS)]
    run.finish(rows, record, note)


def in_a_process(path: Path | None, backend: str) -> Row:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, path, backend).result()


def measured(path: Path | None, backend: str) -> Row:
    """Returns the row of one bundle on one backend; call it in a fresh process."""
    import_module(f"glesam_runtime.engines.{split_backend(backend)[0]}")
    imports = host_memory()
    bundle = Bundle.open(path)
    with Predictor.from_bundle(bundle, backend) as predictor:
        loaded, image = host_memory(), synthetic_image()
        for _ in range(PICTURES):
            predictor.set_image(image)
            predictor.predict(box=middle(image))
        ran = host_memory()
    manifest = bundle.manifest
    weights = sum(each.size for name, each in manifest.files.items() if ".onnx" in name)
    above = partial(_above, imports)
    return {
        "contender": f"{manifest.name} {manifest.precision}, {backend}",
        "weights_mib": round(weights / 2**20, 1),
        "imports_mib": round((imports.now or 0) / 2**20, 1),
        "load_peak_mib": above(loaded.peak),
        "loaded_mib": above(loaded.now),
        "steady_mib": above(ran.now),
        "peak_mib": above(ran.peak),
    }


def _above(imports: HostMemory, now: int | None) -> float:
    """Returns the memory beyond that of the imports [MiB]."""
    return round(((now or 0) - (imports.now or 0)) / 2**20, 1)


if __name__ == "__main__":
    typer.run(main)
