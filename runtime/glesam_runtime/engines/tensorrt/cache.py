"""Stores compiled engines on disk, one per bundle, graph, GPU, library and precision.

    <cache>/glesam/<bundle hash>/<gpu>-sm<cc>_<library>-<version>_<precision>_<graph>.engine    and its .json

An engine is machine code: a foreign or damaged one crashes the library that opens it. So `load` returns an
engine only where its whole record matches the key. docs/nvidia.md describes the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...bundle.reader import sha256_of
from ...errors import BackendError, OutputError, first_line

ANY_GPU = "any"
"""Name of the GPU for an engine that was built for every GPU of one compute capability."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: `name` is CUDA's, `compute_capability` is 10 * major + minor, such as 86."""

    name: str
    compute_capability: int

    def __str__(self) -> str:
        name = "any GPU of" if self.name == ANY_GPU else self.name
        return f"{name} sm{self.compute_capability}"


@dataclass(frozen=True)
class EngineKey:
    """Identity of an engine: an engine that differs in any field is another one."""

    bundle_hash: str
    graph: str
    graph_sha256: str
    precision: str
    library: str
    version: str
    gpu: str
    compute_capability: int

    @property
    def path(self) -> Path:
        """Path of the engine, whether it exists or not."""
        gpu, version = (re.sub(r"[^A-Za-z0-9.]+", "-", text) for text in (self.gpu, self.version))
        name = f"{gpu}-sm{self.compute_capability}_{self.library}-{version}_{self.precision}_{self.graph}"
        return bundle_folder(self.bundle_hash) / f"{name}.engine"


@dataclass(frozen=True)
class EngineRecord:
    """The JSON beside an engine.

    profile: dynamic dimension -> least, usual and largest size. layers: number of heavy layers by precision.
    seconds, peak_memory_mib: time and memory of the process that built it. glesam: version of this package.
    """

    key: EngineKey
    sha256: str
    size: int
    profile: Mapping[str, list[int]]
    layers: Mapping[str, int]
    seconds: float
    peak_memory_mib: float
    glesam: str

    @property
    def path(self) -> Path:
        """Path of the engine."""
        return self.key.path


def bundle_folder(bundle_hash: str) -> Path:
    """Returns the folder of a bundle's engines, in $GLESAM_CACHE, $XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("GLESAM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "glesam" / bundle_hash


def cached_engines(bundle_hash: str) -> list[EngineRecord]:
    """Returns the engines that were built from a bundle, by file name. Only `load` checks their bytes."""
    records = ((path, _read(path)) for path in sorted(bundle_folder(bundle_hash).glob("*.json")))
    return [
        record
        for path, record in records
        if isinstance(record, EngineRecord) and record.path == path.with_suffix(".engine")
        if record.path.is_file()
    ]


def load(key: EngineKey, rebuild: str) -> bytes:
    """Returns the engine of `key`. Raises BackendError, with the command `rebuild`, where it is not sound."""
    record = find(key, rebuild)
    try:
        plan = record.path.read_bytes()
    except OSError as error:
        raise _refused(key.path, "a readable file", first_line(error), rebuild) from error
    _check("bytes", record.size, len(plan), key.path, rebuild)
    _check("sha256", record.sha256, hashlib.sha256(plan).hexdigest(), key.path, rebuild)
    return plan


def find(key: EngineKey, rebuild: str) -> EngineRecord:
    """Returns the record of the engine of `key`, without reading the engine. Raises as `load` does."""
    if not key.path.is_file():
        raise BackendError(f"{_missing(key)}; run {rebuild}")
    record = _read(key.path.with_suffix(".json"))
    if isinstance(record, str):
        raise _refused(key.path, "a record beside it", record, rebuild)
    for field in fields(EngineKey):
        _check(field.name, getattr(key, field.name), getattr(record.key, field.name), key.path, rebuild)
    return record


def _missing(key: EngineKey) -> str:
    """Returns which engine is missing, and which engines of the same graph there are."""
    others = [record.path.name for record in cached_engines(key.bundle_hash) if record.key.graph == key.graph]
    listed = ", ".join(others) or "none of this graph"
    return f"no engine {key.path.name} in {key.path.parent}, found {listed}"


def _check(what: str, here: object, there: object, path: Path, rebuild: str) -> None:
    if here != there:
        raise _refused(path, f"{what} {here}", str(there), rebuild)


def _refused(path: Path, expected: str, actual: str, rebuild: str) -> BackendError:
    return BackendError(f"engine {path}: expected {expected}, found {actual}; run {rebuild}")


@contextmanager
def locked(key: EngineKey, waiting: Callable[[str], None]) -> Iterator[int]:
    """Lets one process at a time build the engine of `key`; the others call `waiting` and wait.

    Yields the lock's file descriptor: a child that inherits it keeps the lock even if its parent is killed.
    The kernel frees the lock when the last of them ends, however it ends.
    """
    path = key.path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise _cannot_write(path.parent, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(f"another process is building {key.path.name}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def part_path(key: EngineKey) -> Path:
    """Returns the path of an unfinished engine, for the holder of the lock to write to."""
    return key.path.with_suffix(".part")


def store(record: EngineRecord) -> None:
    """Moves the file at `part_path` into its place, then writes the record, without which it does not count.

    Raises OutputError where the folder or the disk refuses.
    """
    path, json_path = record.path, record.path.with_suffix(".json")
    try:
        json_path.unlink(missing_ok=True)  # the record of an older engine is not the new one's
        part_path(record.key).replace(path)
        temporary = json_path.with_suffix(".json.part")
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n")
        temporary.replace(json_path)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def measured(path: Path) -> tuple[str, int]:
    """Returns the sha256 and the size [bytes] of a file."""
    return sha256_of(path), path.stat().st_size


def _cannot_write(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"engine cache {folder}: cannot be written ({error.strerror}); "
        "make room, or set GLESAM_CACHE to a folder that can be written"
    )


def _read(path: Path) -> EngineRecord | str:
    """Returns the record in a file, or why there is none."""
    try:
        document = json.loads(path.read_bytes())
        record = EngineRecord(key=EngineKey(**document.pop("key")), **document)
    except OSError as error:
        return first_line(error)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{path.name}, which is no record of an engine"
    if not _is_typed(record) or not _is_typed(record.key):
        return f"{path.name}, whose fields are of other types"
    return record


def _is_typed(value: EngineRecord | EngineKey) -> bool:
    """Returns whether every field has its declared type, since JSON may hold any."""
    kinds = {"str": (str,), "int": (int,), "float": (int, float), "EngineKey": (EngineKey,)}
    return all(isinstance(getattr(value, x.name), kinds.get(str(x.type), (dict,))) for x in fields(value))
