"""The C++ library reads the cache of engines that Python writes, and refuses it in the same words."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from native import LIBRARY
from test_engine_cache import CHANGES, KEY, PLAN, REBUILD, stored

from glesam_runtime import Bundle
from glesam_runtime.engines.tensorrt.build import build_command, engine_key
from glesam_runtime.engines.tensorrt.cache import EngineKey, Gpu, load
from glesam_runtime.engines.tensorrt.library import Library
from glesam_runtime.errors import BackendError

TOOL = LIBRARY.parents[1] / "tests/cpp/engine_cache_tool"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built: make cpp")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_tool(*words: object) -> list[str]:
    done = subprocess.run([TOOL, *map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def native(key: EngineKey) -> tuple[str, str]:
    """The path, and the sha256 or the refusal, of the C++ library."""
    fields = (key.bundle_hash, key.graph, key.graph_sha256, key.precision, key.library, key.version)
    path, answer = run_tool(*fields, key.gpu, key.compute_capability, REBUILD)
    return path, answer


def python(key: EngineKey) -> tuple[str, str]:
    try:
        return str(key.path), hashlib.sha256(load(key, REBUILD)).hexdigest()
    except BackendError as error:
        return str(key.path), str(error)


def test_an_engine_that_python_stored_is_found_whole() -> None:
    stored()
    assert native(KEY) == (str(KEY.path), hashlib.sha256(PLAN).hexdigest())


@pytest.mark.parametrize(
    "gpu",
    [
        "NVIDIA RTX A2000",
        "Orin (nvgpu)",
        "  ",
        "a--b__c",
        "GeForce® RTX™ 5090",
        "日本",
        "x/../../y",
        "..",
        "a\tb'c\"",
    ],
)
def test_odd_gpus_and_versions_give_the_same_file_name(gpu: str) -> None:
    for version in ("10.3.0", "11.4.0.12", "10.7.0.post1", "1 β"):
        key = replace(KEY, gpu=gpu, version=version)
        assert native(key) == python(key)


@pytest.mark.parametrize("environment", [{}, {"GLESAM_CACHE": ""}, {"XDG_CACHE_HOME": "/nonexistent/x"}])
def test_the_cache_lies_where_python_has_it(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GLESAM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert native(KEY) == python(KEY)


@pytest.mark.parametrize("field", list(CHANGES))
def test_a_foreign_engine_under_the_right_name_is_refused_in_the_same_words(field: str) -> None:
    other = replace(KEY, **{field: CHANGES[field]})
    record = stored(other)
    KEY.path.parent.mkdir(parents=True, exist_ok=True)
    if record.path != KEY.path:
        record.path.rename(KEY.path)
        record.path.with_suffix(".json").rename(KEY.path.with_suffix(".json"))
    assert "expected" in native(KEY)[1]
    assert native(KEY) == python(KEY)


def test_a_missing_engine_names_what_there_is_in_the_same_words() -> None:
    assert native(KEY) == python(KEY)
    stored(replace(KEY, compute_capability=89))
    stored(replace(KEY, gpu="any"))
    stored(replace(KEY, graph="mask_decoder"))
    assert native(KEY)[1].count("_gle.engine") == 3
    assert native(KEY) == python(KEY)


def _cut(engine: Path) -> None:
    engine.write_bytes(PLAN[:-1])


def _flip(engine: Path) -> None:
    engine.write_bytes(b"M" + PLAN[1:])


def _unreadable(engine: Path) -> None:
    engine.with_suffix(".json").unlink()
    engine.with_suffix(".json").mkdir()


def _edited(**changes: Any) -> Callable[[Path], None]:  # noqa: ANN401 - any JSON
    def edit(engine: Path) -> None:
        path = engine.with_suffix(".json")
        document = json.loads(path.read_text())
        key = document["key"]
        for name, value in changes.items():
            target = key if isinstance(key, dict) and name in key else document
            target[name] = value
        path.write_text(json.dumps(document))

    return edit


def _written(text: str) -> Callable[[Path], None]:
    return lambda engine: engine.with_suffix(".json").write_text(text) and None


DAMAGES = {
    "cut": _cut,
    "another byte": _flip,
    "no record": lambda engine: engine.with_suffix(".json").unlink(),
    "a folder for a record": _unreadable,
    "not JSON": _written("{"),
    "empty": _written(""),
    "a list": _written("[1]"),
    "a number": _written("7"),
    "not UTF-8": lambda engine: engine.with_suffix(".json").write_bytes(b'{"key": "\xff"}') and None,
    "nested deeply": _written("[" * 100_000),
    "one field more": _edited(color="red"),
    "a key that is none": _edited(key=5),
    "a key without fields": _edited(key={}),
    "size as text": _edited(size="9"),
    "size as a float": _edited(size=1.0),
    "size true": _edited(size=True),
    "another size": _edited(size=-3),
    "sha256 null": _edited(sha256=None),
    "layers a list": _edited(layers=[]),
    "seconds text": _edited(seconds="1"),
    "seconds an integer": _edited(seconds=1),
    "capability as text": _edited(compute_capability="86"),
    "capability true": _edited(compute_capability=True),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_engine_is_refused_in_the_same_words(damage: Callable[[Path], None]) -> None:
    damage(stored().path)
    assert native(KEY) == python(KEY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_engine_is_refused_in_the_same_words() -> None:
    stored().path.chmod(0)
    assert native(KEY) == python(KEY)


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26", "10.3.0.post1"])
@pytest.mark.parametrize("folder", ["bundle", "it's a bundle"])
def test_key_and_command_are_python_s(bundle_path: Path, tmp_path: Path, version: str, folder: str) -> None:
    """TensorRT's Python package names its version with the build's number, or without it."""
    (tmp_path / folder).symlink_to(bundle_path)
    bundle, gpu = Bundle.open(tmp_path / folder), Gpu("Orin (nvgpu)", 87)
    key = engine_key(Library("tensorrt", None, version), bundle, "gle", gpu)
    stored(key)
    actual = run_tool(bundle.root, "gle", "tensorrt", "10.3.0", "26", gpu.name, gpu.compute_capability)
    assert actual == [version, str(key.path), build_command(bundle, key)]
