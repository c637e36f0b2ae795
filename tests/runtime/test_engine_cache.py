"""The cache of engines: an engine that does not match its key exactly never reaches a library."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from glesam_runtime.engines.tensorrt.cache import (
    EngineKey,
    EngineRecord,
    bundle_folder,
    cached_engines,
    load,
    locked,
    measured,
    part_path,
    store,
)
from glesam_runtime.errors import BackendError, OutputError

REBUILD = "glesam-build bundle --backend tensorrt-rtx"
PLAN = b"machine code" * 100
KEY = EngineKey("b" * 64, "gle", "a" * 64, "int8+fp16", "tensorrt-rtx", "1.7.1.116", "NVIDIA RTX/A2000", 86)
CHANGES: dict[str, Any] = {
    "bundle_hash": "c" * 64,
    "graph": "mask_decoder",
    "graph_sha256": "d" * 64,
    "precision": "fp32",
    "library": "tensorrt",
    "version": "1.7.2.1",
    "gpu": "any",
    "compute_capability": 89,
}
"""Another value for each field of a key."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(key: EngineKey = KEY, plan: bytes = PLAN) -> EngineRecord:
    with locked(key, print):
        part_path(key).write_bytes(plan)
        sha256, size = measured(part_path(key))
        record = EngineRecord(key, sha256, size, {"num_prompts": [1, 1, 64]}, {"Half": 3}, 1.5, 200.0, "0.1")
        store(record)
    return record


def test_an_engine_comes_back_whole() -> None:
    record = stored()
    assert load(KEY, REBUILD) == PLAN
    assert cached_engines(KEY.bundle_hash) == [record]
    names = sorted(path.name for path in bundle_folder(KEY.bundle_hash).iterdir())
    stem = "NVIDIA-RTX-A2000-sm86_tensorrt-rtx-1.7.1.116_int8+fp16_gle"
    assert names == [f"{stem}.engine", f"{stem}.json", f"{stem}.lock"]


@pytest.mark.parametrize("field", sorted(set(CHANGES) - {"graph_sha256"}))
def test_an_engine_with_another_key_is_missing(field: str) -> None:
    stored()
    with pytest.raises(BackendError, match=r"no engine .* found .*; run glesam-build bundle"):
        load(replace(KEY, **{field: CHANGES[field]}), REBUILD)


@pytest.mark.parametrize("field", CHANGES)
def test_an_engine_under_the_name_of_another_is_refused(field: str) -> None:
    """A user may copy a cache between machines and rename files."""
    record = stored()
    other = replace(KEY, **{field: CHANGES[field]})
    other.path.parent.mkdir(exist_ok=True)  # the graph's hash alone is in no file name
    for suffix in (".engine", ".json"):
        record.path.with_suffix(suffix).rename(other.path.with_suffix(suffix))
    with pytest.raises(BackendError) as caught:
        load(other, REBUILD)
    message = str(caught.value)
    assert f"expected {field} {CHANGES[field]}, found {getattr(KEY, field)}; run {REBUILD}" in message
    if field != "graph_sha256":
        assert cached_engines(other.bundle_hash) == []


def truncate(record: EngineRecord) -> None:
    record.path.write_bytes(PLAN[:-1])


def tamper(record: EngineRecord) -> None:
    record.path.write_bytes(b"M" + PLAN[1:])


def remove_the_record(record: EngineRecord) -> None:
    record.path.with_suffix(".json").unlink()


def truncate_the_record(record: EngineRecord) -> None:
    path = record.path.with_suffix(".json")
    path.write_text(path.read_text()[:50])


def put_a_list_in_the_record(record: EngineRecord) -> None:
    record.path.with_suffix(".json").write_text("[1, 2]")


def rewrite(change: Callable[[dict[str, Any]], object]) -> Callable[[EngineRecord], None]:
    def damage(record: EngineRecord) -> None:
        document = asdict(record)
        change(document)
        record.path.with_suffix(".json").write_text(json.dumps(document))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "expected bytes 1200, found 1199"),
        (tamper, "expected sha256 "),
        (remove_the_record, "expected a record beside it, found "),
        (truncate_the_record, "which is no record of an engine"),
        (put_a_list_in_the_record, "which is no record of an engine"),
        (rewrite(lambda d: d.pop("sha256")), "which is no record of an engine"),
        (rewrite(lambda d: d["key"].pop("gpu")), "which is no record of an engine"),
        (rewrite(lambda d: d.update(size="1200")), "whose fields are of other types"),
        (rewrite(lambda d: d.update(profile=[])), "whose fields are of other types"),
        (rewrite(lambda d: d.update(sha256="0" * 64)), f"expected sha256 {'0' * 64}, found "),
        (rewrite(lambda d: d.update(size=7)), "expected bytes 7, found 1200"),
    ],
)
def test_a_damaged_engine_is_refused(damage: Callable[[EngineRecord], None], message: str) -> None:
    damage(stored())
    with pytest.raises(BackendError) as caught:
        load(KEY, REBUILD)
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"; run {REBUILD}")


def test_an_interrupted_store_is_no_engine() -> None:
    """The plan is moved first and the record is written last."""
    record = stored()
    record.path.write_bytes(b"a newer plan")
    record.path.with_suffix(".json").unlink()
    assert cached_engines(KEY.bundle_hash) == []
    with pytest.raises(BackendError, match="expected a record beside it"):
        load(KEY, REBUILD)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLESAM_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert bundle_folder("abc") == Path("/one/glesam/abc")
    monkeypatch.delenv("GLESAM_CACHE")
    assert bundle_folder("abc") == Path("/two/glesam/abc")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert bundle_folder("abc") == Path.home() / ".cache" / "glesam" / "abc"


def test_a_cache_that_cannot_be_written_is_one_line(cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"cannot be written .* set GLESAM_CACHE"), locked(KEY, print):
        pass


def hold_the_lock(held: Any) -> None:  # noqa: ANN401
    with locked(KEY, print):
        held.set()
        time.sleep(600)


def test_a_killed_holder_frees_the_lock() -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=hold_the_lock, args=(held,))
    holder.start()
    assert held.wait(60)
    notes: list[str] = []

    def waiting(line: str) -> None:
        notes.append(line)
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)

    with locked(KEY, waiting):
        pass
    holder.join()
    assert notes == [f"another process is building {KEY.path.name}; waiting for it"]
