"""Engines from a bundle's graphs: built in a process of their own, checked, kept in the cache.

The builder of TensorRT takes gigabytes and may crash; so it runs without torch, one engine at a time, and its
end becomes an engine or one line that says why there is none.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...bundle.reader import Bundle
from ...errors import BackendError
from ..host import installed
from . import cache as engine_cache
from . import child
from .cache import ANY_GPU, EngineKey, EngineRecord, Gpu
from .child import RTX, Request
from .layers import check_layers, heavy_layers
from .library import Library
from .profile import Profile

Tell = Callable[[str], None]
"""Takes a line of progress, or a note."""


@dataclass(frozen=True)
class BuildOptions:
    """`workspace_mib`: the most memory a kernel may ask for, in MiB; None leaves it to TensorRT.

    `timing_cache`: a file of TensorRT's measurements, read and written, which makes a second build quick.
    """

    workspace_mib: int | None = None
    timing_cache: Path | None = None
    profile: Profile = field(default_factory=Profile)


def engine_plan(library: Library, bundle: Bundle, graph_name: str, gpu: Gpu) -> bytes:
    """The cached engine of a graph for `gpu`; TensorRT for RTX's may be for its compute capability alone.

    Raises BackendError, which names the command that builds it, where there is none or it is not sound.
    """
    own = engine_key(library, bundle, graph_name, gpu)
    general = engine_key(library, bundle, graph_name, Gpu(ANY_GPU, gpu.compute_capability))
    use_general = library.backend == RTX and not own.path.is_file() and general.path.is_file()
    key = general if use_general else own
    return engine_cache.load(key, build_command(bundle, key))


def engine_key(library: Library, bundle: Bundle, graph_name: str, gpu: Gpu) -> EngineKey:
    """What the cache asks of an engine of this graph."""
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
    """The command that builds the engine of `key` anew."""
    words = ["glesam-build", str(bundle.root), "--backend", key.library]
    if key.gpu == ANY_GPU:
        words += ["--target", f"sm{key.compute_capability}"]
    return shlex.join([*words, "--force"])


def cached(key: EngineKey, options: BuildOptions, bundle: Bundle) -> EngineRecord | None:
    """The record of the engine of `key`, where it is whole and of the sizes that are asked for."""
    command = build_command(bundle, key)
    try:
        record = engine_cache.find(key, command)
        engine_cache.load(key, command)
    except BackendError:
        return None
    return record if record.profile == options.profile.sizes(bundle.manifest.graphs[key.graph].spec) else None


def build_engine(
    key: EngineKey, bundle: Bundle, options: BuildOptions, tell: Tell, force: bool = False
) -> tuple[EngineRecord, bool]:
    """The engine of `key`, and whether it was built now: a sound cached one is kept unless `force`.

    Where another process builds it at this moment, it is waited for and taken.

    Raises:
        BackendError: TensorRT refuses the graph or crashes, or the engine is not of the bundle's precision.
        OutputError: the cache or the timing cache cannot be written.
    """
    with engine_cache.locked(key, tell) as lock:
        found = None if force else cached(key, options, bundle)
        if found is not None:
            return found, False
        with _waste_removed(engine_cache.part_path(key)):
            record = _built(key, bundle, options, tell, lock)
            engine_cache.store(record)
    return record, True


def _built(key: EngineKey, bundle: Bundle, options: BuildOptions, tell: Tell, lock: int) -> EngineRecord:
    graph = bundle.manifest.graphs[key.graph]
    request = Request(
        backend=key.library,
        graph=str(bundle.graph_path(key.graph).absolute()),
        plan=str(engine_cache.part_path(key).absolute()),
        target=key.compute_capability if key.gpu == ANY_GPU else None,
        workspace_mib=options.workspace_mib,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache.absolute()),
        shapes=options.profile.shapes(graph.spec),
    )
    done = run_child(request, f"{key.library} {key.version}", tell, lock)
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


def run_child(request: Request, library: str, tell: Tell, lock: int) -> dict[str, Any]:
    """Runs the builder's process to its end; returns what it tells of the engine.

    Raises BackendError with what TensorRT said, or with the signal that ended it.
    """
    said = ""
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
                tell(content)
            else:
                said = content or said
        raise BackendError(f"{request.graph}: {_end(library, process.wait())}; {said or 'it said nothing'}")


@contextmanager
def _process(request: Request, lock: int) -> Iterator[subprocess.Popen[str]]:
    """The builder's process; it ends with the block. While it lives, it holds the cache's lock."""
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    process = subprocess.Popen(
        [sys.executable, "-m", child.__name__, json.dumps(asdict(request))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Elsewhere a module of the user's folder could take the place of TensorRT's.
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
    """A message of the child, or a line that a library printed: ("", line)."""
    try:
        ((kind, content),) = json.loads(line).items()
    except (ValueError, AttributeError):
        return "", line.strip()
    return kind, content


def _end(library: str, status: int) -> str:
    if status >= 0:
        return f"the builder of {library} ended with status {status} and no engine"
    name = signal.Signals(-status).name
    cure = {
        signal.SIGKILL: "out of memory, most likely: close other programs, or give --workspace",
        signal.SIGSEGV: "a fault of the library: upgrade it, or export with another --precision",
    }.get(signal.Signals(-status), "upgrade the library")
    return f"the builder of {library} was ended by {name} ({cure})"


@contextmanager
def _waste_removed(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        part.unlink(missing_ok=True)
