"""What glesam-build does: builds an engine from every graph of a bundle, and reports each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..bundle.reader import Bundle
from ..engines import TENSORRT
from ..engines.tensorrt.build import BuildOptions, build_engine, engine_key
from ..engines.tensorrt.cache import EngineRecord, Gpu, bundle_folder
from ..engines.tensorrt.library import Library, load_library
from ..engines.tensorrt.targets import choose_gpus
from ..errors import BackendError
from .progress import status


@dataclass(frozen=True, eq=False)
class Plan:
    """The engines to build: every graph of `bundle` for each of `gpus`."""

    bundle: Bundle
    library: Library
    gpus: Sequence[Gpu]
    options: BuildOptions


def plan_build(bundle: Bundle, backend: str, target: str | None, options: BuildOptions) -> Plan:
    """Returns what to build for the GPUs of `target`, or for this machine's GPU.

    Raises BackendError where the backend builds no engines or is absent, where the options do not fit it, or
    where there is no GPU to build for.
    """
    _check(backend, options)
    library = load_library(backend)
    return Plan(bundle, library, choose_gpus(library, target), options)


def build(plan: Plan, force: bool) -> Iterator[tuple[EngineRecord, bool]]:
    """Yields each engine's record and whether it was built now; raises as build_engine does."""
    for gpu in plan.gpus:
        for name in plan.bundle.manifest.graphs:
            key = engine_key(plan.library, plan.bundle, name, gpu)
            with status(f"{name} for sm{gpu.compute_capability}") as report:
                result = build_engine(key, plan.bundle, plan.options, report, force)
            yield result


def engine_line(record: EngineRecord, is_new: bool) -> str:
    """Returns which engine it is, how large, what the build took, and the precision of its layers."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in record.layers.items()) or "none"
    took = f"{record.seconds:.1f} s, {record.peak_memory_mib:.0f} MiB of memory"
    return (
        f"{record.key.graph} for {Gpu(record.key.gpu, record.key.compute_capability)}: "
        f"{record.size / 2**20:.1f} MiB, {took if is_new else 'cached and sound'}; heavy layers: {kinds}"
    )


def closing_line(plan: Plan, records: Sequence[EngineRecord]) -> str:
    """Returns what was built, where it is, and the next command."""
    bundle, size = plan.bundle, sum(record.size for record in records) / 2**20
    verify = shlex.join(["glesam-verify", str(bundle.root), "--backend", plan.library.backend])
    folder = bundle_folder(bundle.hash)
    return f"{len(records)} engines, {size:.1f} MiB, in {folder}; next, on the GPU: {verify}"


def _check(backend: str, options: BuildOptions) -> None:
    """Raises BackendError where `backend` builds no engines or has no use for an option."""
    cache = options.timing_cache
    if backend not in TENSORRT:
        raise BackendError(f"backend {backend!r} builds no engines; choose {' or '.join(TENSORRT)}")
    if cache is not None and backend != "tensorrt":
        raise BackendError(f"backend {backend} measures nothing while it builds; leave --timing-cache out")
    if cache is not None and not cache.absolute().parent.is_dir():
        raise BackendError(f"--timing-cache {cache}: its folder does not exist; create it")
