"""Every name of TensorRT that our sources use exists in TensorRT 10.3, 10.16 and 11.4.

The API of each was recorded from `dir()` of its classes. The sources are read, not run: an attribute counts
as TensorRT's where it is taken of the module, of a class of it, or of a variable named as ours are below.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import glesam_runtime

FOLDER = Path(glesam_runtime.__file__).parent / "engines" / "tensorrt"
RECORDED = sorted((Path(__file__).parent / "data").glob("tensorrt_api_*.json"))
VARIABLES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "context": "IExecutionContext",
}
"""How our sources call TensorRT's objects -> their class; `trt` is the module, `self._engine` an `engine`."""
GUARDED = {
    "ComputeCapability": "only for --target, which tensorrt-rtx alone takes",
    "IBuilderConfig.num_compute_capabilities": "as above",
    "IBuilderConfig.set_compute_capability": "as above",
}
"""Names that some version lacks -> the condition under which we use them."""


def sources() -> list[Path]:
    files = sorted(FOLDER.glob("*.py"))
    assert "child.py" in [path.name for path in files]
    return files


def names_used(path: Path) -> Iterator[str]:
    """ "Class" for trt.Class, "Class.member" for trt.Class.member and for a member of a variable."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        words = ast.unparse(node.value).split(".")
        if words[-1] in ("trt", "module"):
            yield node.attr
        elif len(words) == 2 and words[0] == "trt":
            yield f"{words[1]}.{node.attr}"
        elif words[-1].lstrip("_") in VARIABLES and words[:-1] in ([], ["self"]):
            yield f"{VARIABLES[words[-1].lstrip('_')]}.{node.attr}"


def has(api: dict[str, list[str]], name: str) -> bool:
    kind, _, member = name.partition(".")
    if kind.startswith("__"):
        return True
    return kind in api and (not member or member.startswith("__") or member in api[kind])


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_every_name_is_in_every_version(path: Path, recorded: Path) -> None:
    api = json.loads(recorded.read_text())
    missing = {name for name in names_used(path) if not has(api, name)}
    assert missing <= set(GUARDED)


def test_three_versions_are_recorded() -> None:
    assert [path.stem.split("_")[-1].split(".")[0] for path in RECORDED] == ["10", "10", "11"]


def test_the_sources_use_known_names_of_tensorrt() -> None:
    """Otherwise the test above would prove nothing."""
    used = {name for path in sources() for name in names_used(path)}
    assert {"Builder", "OnnxParser", "Builder.build_serialized_network", "OnnxParser.parse"} <= used
    assert {"NetworkDefinitionCreationFlag.STRONGLY_TYPED", "IBuilderConfig.set_memory_pool_limit"} <= used


def test_what_is_guarded_is_used_and_missing_somewhere() -> None:
    apis = [json.loads(path.read_text()) for path in RECORDED]
    used = {name for path in sources() for name in names_used(path)}
    assert all(name in used and not all(has(api, name) for api in apis) for name in GUARDED)


def test_a_removed_name_is_missing() -> None:
    api = json.loads(RECORDED[-1].read_text())
    assert has(json.loads(RECORDED[0].read_text()), "BuilderFlag.FP16")
    assert not has(api, "BuilderFlag.FP16")
