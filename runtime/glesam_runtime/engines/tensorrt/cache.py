"""Compiled engines on disk, one per bundle, graph, GPU, library and precision; docs/tensorrt.md describes it.

    <cache>/glesam/<bundle hash>/<gpu>-sm<cc>_<library>-<version>_<precision>_<graph>.engine    and its .json

An engine is machine code: the library that is given a foreign or damaged one crashes. So `load` returns bytes
only where everything that was recorded of them is what is asked for here.
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
"""The name of the GPU where an engine was built for every GPU of one compute capability."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: `name` as CUDA gives it, `compute_capability` 10 * major + minor, such as 86."""

    name: str
    compute_capability: int

    def __str__(self) -> str:
        name = "any GPU of" if self.name == ANY_GPU else self.name
        return f"{name} sm{self.compute_capability}"


@dataclass(frozen=True)
class EngineKey:
    """Of what and for what an engine is. One that differs in any field is another engine."""

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
        """Where the engine lies, whether it is there or not."""
        gpu, version = (re.sub(r"[^A-Za-z0-9.]+", "-", text) for text in (self.gpu, self.version))
        name = f"{gpu}-sm{self.compute_capability}_{self.library}-{version}_{self.precision}_{self.graph}"
        return bundle_folder(self.bundle_hash) / f"{name}.engine"


@dataclass(frozen=True)
class EngineRecord:
    """The JSON beside an engine. `profile`: dynamic dimension -> least, usual and largest size.

    `layers` counts the heavy layers by what they compute in; `seconds` and `peak_memory_mib` are the
    build's, of the process that built.
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
        """The engine's file."""
        return self.key.path


def bundle_folder(bundle_hash: str) -> Path:
    """Where a bundle's engines lie: below $GLESAM_CACHE, else $XDG_CACHE_HOME, else ~/.cache."""
    root = os.environ.get("GLESAM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "glesam" / bundle_hash


def cached_engines(bundle_hash: str) -> list[EngineRecord]:
    """The engines that were built from a bundle, by file name. Their bytes are not checked; `load` does."""
    found = ((path, _read(path)) for path in sorted(bundle_folder(bundle_hash).glob("*.json")))
    return [
        record
        for path, record in found
        if isinstance(record, EngineRecord) and record.path == path.with_suffix(".engine")
        if record.path.is_file()
    ]


def load(key: EngineKey, rebuild: str) -> bytes:
    """The engine of `key`, whole. Raises BackendError, with the command `rebuild`, where there is none."""
    record = find(key, rebuild)
    try:
        plan = record.path.read_bytes()
    except OSError as error:
        raise _refused(key.path, "a readable file", first_line(error), rebuild) from error
    _check("bytes", record.size, len(plan), key.path, rebuild)
    _check("sha256", record.sha256, hashlib.sha256(plan).hexdigest(), key.path, rebuild)
    return plan


def find(key: EngineKey, rebuild: str) -> EngineRecord:
    """What is recorded of the engine of `key`, whose bytes are not looked at. Raises as `load` does."""
    if not key.path.is_file():
        raise BackendError(f"{_missing(key)}; run {rebuild}")
    record = _read(key.path.with_suffix(".json"))
    if isinstance(record, str):
        raise _refused(key.path, "a record beside it", record, rebuild)
    for field in fields(EngineKey):
        _check(field.name, getattr(key, field.name), getattr(record.key, field.name), key.path, rebuild)
    return record


def _missing(key: EngineKey) -> str:
    """What is needed, and what there is of the same graph."""
    others = [record.path.name for record in cached_engines(key.bundle_hash) if record.key.graph == key.graph]
    found = ", ".join(others) or "none of this graph"
    return f"no engine {key.path.name} in {key.path.parent}, found {found}"


def _check(what: str, here: object, there: object, path: Path, rebuild: str) -> None:
    if here != there:
        raise _refused(path, f"{what} {here}", str(there), rebuild)


def _refused(path: Path, expected: str, found: str, rebuild: str) -> BackendError:
    return BackendError(f"engine {path}: expected {expected}, found {found}; run {rebuild}")


@contextmanager
def locked(key: EngineKey, waiting: Callable[[str], None]) -> Iterator[int]:
    """Only one process at a time builds the engine of `key`; the others wait here, after telling so.

    Yields the lock's file descriptor: a child that inherits it holds the lock too, should its parent be
    killed. The kernel frees the lock when the last of them ends, however it ends.
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
    """Where the holder of the lock puts the engine of `key` while it is made; what lies there is waste."""
    return key.path.with_suffix(".part")


def store(record: EngineRecord) -> None:
    """Move the file at `part_path` into its place, then write the record: with it the engine exists.

    Raises OutputError where that cannot be.
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
    """The sha256 and the size [bytes] of a file."""
    return sha256_of(path), path.stat().st_size


def _cannot_write(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"engine cache {folder}: cannot be written ({error.strerror}); "
        "make room, or set GLESAM_CACHE to a folder that can be written"
    )


def _read(path: Path) -> EngineRecord | str:
    """A record, or why there is none."""
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
    """Whether every field that JSON filled is of the type that is declared."""
    kinds = {"str": (str,), "int": (int,), "float": (int, float), "EngineKey": (EngineKey,)}
    return all(isinstance(getattr(value, x.name), kinds.get(str(x.type), (dict,))) for x in fields(value))
