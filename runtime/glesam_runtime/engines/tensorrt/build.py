"""Builds engines from a bundle's graphs, checks them, and keeps them in the cache.

TensorRT's builder takes gigabytes and may crash. So every engine is built in a process of its own, without
torch, which ends with an engine or with one line that says why there is none.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...bundle.reader import Bundle
from ...bundle.spec import GraphSpec
from ...errors import BackendError
from ..host import installed
from . import cache as engine_cache
from . import child
from .cache import ANY_GPU, EngineKey, EngineRecord, Gpu
from .child import RTX, Request
from .layers import check_layers, heavy_layers
from .library import Library

Report = Callable[[str], None]
"""Takes a line of progress, or a note."""
Range = tuple[int, int, int]
"""Least, usual and largest size. An engine is tuned for the usual one and refuses sizes out of range."""


@dataclass(frozen=True)
class Profile:
    """Sizes of the dynamic dimensions. Usual is one box, two points; --auto decodes 64 prompts at once."""

    num_prompts: Range = (1, 1, 64)
    num_points: Range = (1, 2, 16)

    def sizes(self, spec: GraphSpec) -> dict[str, list[int]]:
        """Returns the sizes of each dynamic dimension of `spec`; a static graph has none."""
        dynamic = {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)}
        return {name: list(sizes) for name, sizes in asdict(self).items() if name in dynamic}

    def shapes(self, spec: GraphSpec) -> dict[str, list[list[int]]]:
        """Returns the least, usual and largest shape of each dynamic input of `spec`."""
        sizes = self.sizes(spec)
        return {
            tensor.name: [[_size(size, sizes, i) for size in tensor.shape] for i in range(3)]
            for tensor in spec.inputs
            if any(isinstance(size, str) for size in tensor.shape)
        }


@dataclass(frozen=True)
class BuildOptions:
    """How to build an engine.

    workspace_mib: largest memory of one kernel [MiB]; None leaves it to TensorRT.
    timing_cache: a file of TensorRT's measurements, read and written, which makes a second build quick.
    """

    workspace_mib: int | None = None
    timing_cache: Path | None = None
    profile: Profile = field(default_factory=Profile)


def engine_plan(library: Library, bundle: Bundle, graph_name: str, gpu: Gpu) -> bytes:
    """Returns the cached engine of a graph for `gpu`, or, of TensorRT for RTX, for its compute capability.

    Raises BackendError, with the command that builds it, where there is none or it is damaged.
    """
    own = engine_key(library, bundle, graph_name, gpu)
    general = engine_key(library, bundle, graph_name, Gpu(ANY_GPU, gpu.compute_capability))
    use_general = library.backend == RTX and not own.path.is_file() and general.path.is_file()
    key = general if use_general else own
    return engine_cache.load(key, build_command(bundle, key))


def engine_key(library: Library, bundle: Bundle, graph_name: str, gpu: Gpu) -> EngineKey:
    """Returns the key of this graph's engine in the cache."""
    graph = bundle.manifest.graphs[graph_name]
    return EngineKey(
        bundle_hash=bundle.hash,
        graph=graph_name,
        graph_sha256=bundle.manifest.files[graph.file].sha256,
        precision=graph.precision,
        library=library.backend,
        version=library.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
    )


def build_command(bundle: Bundle, key: EngineKey) -> str:
    """Returns the command that builds the engine of `key` again."""
    words = ["glesam-build", str(bundle.root), "--backend", key.library]
    if key.gpu == ANY_GPU:
        words += ["--target", f"sm{key.compute_capability}"]
    return shlex.join([*words, "--force"])


def cached(key: EngineKey, options: BuildOptions, bundle: Bundle) -> EngineRecord | None:
    """Returns the record of the engine of `key`; None where it is absent, damaged or for other sizes."""
    command = build_command(bundle, key)
    try:
        record = engine_cache.find(key, command)
        engine_cache.load(key, command)
    except BackendError:
        return None
    return record if record.profile == options.profile.sizes(bundle.manifest.graphs[key.graph].spec) else None


def build_engine(
    key: EngineKey, bundle: Bundle, options: BuildOptions, report: Report, force: bool = False
) -> tuple[EngineRecord, bool]:
    """Returns the record of the engine of `key`, and whether it was built now.

    A sound cached engine is kept unless `force`. If another process is building it, this one waits for it.

    Raises:
        BackendError: TensorRT refuses the graph or crashes, or the engine is not of the bundle's precision.
        OutputError: the cache or the timing cache cannot be written.
    """
    with engine_cache.locked(key, report) as lock:
        record = None if force else cached(key, options, bundle)
        if record is not None:
            return record, False
        with _removed(engine_cache.part_path(key)):
            record = _build(key, bundle, options, report, lock)
            engine_cache.store(record)
    return record, True


def _build(key: EngineKey, bundle: Bundle, options: BuildOptions, report: Report, lock: int) -> EngineRecord:
    """Builds and checks the engine of `key`, which then lies at its part_path."""
    graph = bundle.manifest.graphs[key.graph]
    request = Request(
        backend=key.library,
        graph=str(bundle.graph_path(key.graph).absolute()),
        sha256=key.graph_sha256,
        plan=str(engine_cache.part_path(key).absolute()),
        target=key.compute_capability if key.gpu == ANY_GPU else None,
        workspace_mib=options.workspace_mib,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache.absolute()),
        shapes=options.profile.shapes(graph.spec),
    )
    done = run_child(request, f"{key.library} {key.version}", report, lock)
    bundle.graph_path(key.graph)  # raises where the weights beside the graph have changed meanwhile
    layers = check_layers(graph, heavy_layers(done["table"]))
    sha256, size = engine_cache.measured(engine_cache.part_path(key))
    sizes = options.profile.sizes(graph.spec)
    return EngineRecord(
        key,
        sha256,
        size,
        sizes,
        layers,
        round(done["seconds"], 2),
        round(done["peak_memory_mib"], 1),
        installed(("glesam",)).get("glesam", "source tree"),
    )


def run_child(request: Request, library: str, report: Report, lock: int) -> dict[str, Any]:
    """Runs the builder's process to its end; returns its last message, about the engine.

    Raises BackendError with TensorRT's reason, or with the signal that ended the process.
    """
    last_line = ""
    with _process(request, lock) as process:
        assert process.stdout is not None
        for line in process.stdout:
            kind, content = _message(line)
            if kind == "done":
                done: dict[str, Any] = content
                return done
            if kind == "refused":
                raise BackendError(f"{request.graph}: {library} does not build this graph: {content}")
            if kind in ("progress", "note"):
                report(content)
            else:
                last_line = content or last_line
        end = _end(library, process.wait())
        raise BackendError(f"{request.graph}: {end}; {last_line or 'it said nothing'}")


@contextmanager
def _process(request: Request, lock: int) -> Iterator[subprocess.Popen[str]]:
    """Runs the builder's process, which holds the cache's lock, and ends it with the block."""
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    process = subprocess.Popen(
        [sys.executable, "-m", child.__name__, json.dumps(asdict(request))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # In the user's folder a file of theirs could shadow a module of TensorRT's.
        cwd=Path(request.plan).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        pass_fds=(lock,),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _message(line: str) -> tuple[str, Any]:
    """Returns kind and content of a message of the child; ("", line) for a line that a library printed."""
    try:
        ((kind, content),) = json.loads(line).items()
    except (ValueError, AttributeError):
        return "", line.strip()
    return kind, content


def _end(library: str, status: int) -> str:
    """Returns how the builder's process ended, and what to do about it."""
    if status >= 0:
        return f"the builder of {library} ended with status {status} and no engine"
    name = signal.Signals(-status).name
    cure = {
        signal.SIGKILL: "out of memory, most likely: close other programs, or give --workspace",
        signal.SIGSEGV: "a fault of the library: upgrade it, or export with another --precision",
    }.get(signal.Signals(-status), "upgrade the library")
    return f"the builder of {library} was ended by {name} ({cure})"


@contextmanager
def _removed(part: Path) -> Iterator[None]:
    """Removes the file `part` after the block, if it is still there."""
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


def _size(size: int | str, sizes: Mapping[str, list[int]], position: int) -> int:
    return sizes[size][position] if isinstance(size, str) else size
