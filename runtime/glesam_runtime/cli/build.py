"""glesam-build: a bundle's graphs become TensorRT engines in the cache."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import TENSORRT
from ..engines.tensorrt.build import BuildOptions, Profile, build_engine, engine_key
from ..engines.tensorrt.cache import EngineRecord, Gpu, bundle_folder
from ..engines.tensorrt.library import load_library
from ..engines.tensorrt.targets import choose_gpus
from ..errors import BackendError
from ..tools.progress import status
from ..tools.run_report import model_line
from .command import BundleFolder, Command, Version, command_app
from .errors import one_line_errors

app = command_app()


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"{' or '.join(TENSORRT)}.")] = "tensorrt-rtx",
    target: Annotated[
        str | None,
        typer.Option(metavar="SM,...", help="For other GPUs than this one's: sm86,sm89. tensorrt-rtx only."),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(metavar="MiB", min=1, help="The most memory one kernel may ask for.")
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Measurements kept for the next build, here. tensorrt only."),
    ] = None,
    max_prompts: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="The most prompts in one call.")
    ] = Profile().num_prompts[2],
    force: Annotated[bool, typer.Option("--force", help="Build even what is cached and sound.")] = False,
    _version: Version = False,
) -> None:
    """Build an engine from every graph of a bundle: for this machine's GPU, or for the GPUs of --target.

    Each is built in a process of its own, and its layers are compared with the bundle's precision: an engine
    that computes in something else is an error, and nothing of it is kept. Exit status 2 for any error.
    """
    with one_line_errors():
        opened = Bundle.open(bundle)
        _check(backend, timing_cache)
        library = load_library(backend)
        gpus = choose_gpus(library, target)
        options = BuildOptions(workspace, timing_cache, Profile(num_prompts=(1, 1, max_prompts)))
        typer.echo(model_line(opened, f"{backend} {library.version}"), err=True)
        records = []
        for gpu in gpus:
            for name in opened.manifest.graphs:
                with status(f"{name} for sm{gpu.compute_capability}") as tell:
                    key = engine_key(library, opened, name, gpu)
                    record, is_new = build_engine(key, opened, options, tell, force)
                typer.echo(_line(record, is_new))
                records.append(record)
        typer.echo(_closing(opened, backend, records))


def _check(backend: str, timing_cache: Path | None) -> None:
    if backend not in TENSORRT:
        raise BackendError(f"backend {backend!r} builds no engines; choose {' or '.join(TENSORRT)}")
    if timing_cache is not None and backend != "tensorrt":
        raise BackendError(f"backend {backend} measures nothing while it builds; leave --timing-cache out")
    if timing_cache is not None and not timing_cache.absolute().parent.is_dir():
        raise BackendError(f"--timing-cache {timing_cache}: its folder does not exist; create it")


def _line(record: EngineRecord, is_new: bool) -> str:
    """What, for what, how large, and what the build took."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in record.layers.items()) or "none"
    took = f"{record.seconds:.1f} s, {record.peak_memory_mib:.0f} MiB of memory"
    return (
        f"{record.key.graph} for {Gpu(record.key.gpu, record.key.compute_capability)}: "
        f"{record.size / 2**20:.1f} MiB, {took if is_new else 'cached and sound'}; heavy layers: {kinds}"
    )


def _closing(bundle: Bundle, backend: str, records: list[EngineRecord]) -> str:
    size = sum(record.size for record in records) / 2**20
    verify = shlex.join(["glesam-verify", str(bundle.root), "--backend", backend])
    return (
        f"{len(records)} engines, {size:.1f} MiB, in {bundle_folder(bundle.hash)}; next, on the GPU: {verify}"
    )


def main() -> None:
    """The console script."""
    app()
