"""Who may import whom, read from the source: a broken rule fails here before it can hide in a lazy import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import PACKAGES, circles, import_graph, modules, tree_of

MAY_IMPORT = {
    "glesam": {"glesam", "glesam_runtime"},
    "glesam_runtime": {"glesam_runtime"},
    "glesam_calib": {"glesam_calib", "glesam_runtime"},
    "glesam_export": set(PACKAGES),
}
FORBIDDEN = {
    "glesam_runtime": {"torch", "onnx"},
    "glesam_calib": {"torch"},
}
DEGRADATION_ONLY = {"cv2", "scipy"}
VENDORS = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda"}


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_what_its_package_may(name: str) -> None:
    package = name.split(".")[0]
    imported = set(imported_packages(modules()[name]))
    assert imported & set(PACKAGES) <= MAY_IMPORT[package]
    assert not imported & FORBIDDEN.get(package, set())


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("glesam_runtime")])
def test_only_degradation_needs_opencv_and_scipy(name: str) -> None:
    if not name.startswith("glesam_runtime.degradation"):
        assert not set(imported_packages(modules()[name])) & DEGRADATION_ONLY


@pytest.mark.parametrize("name", modules())
def test_a_vendor_library_is_imported_in_its_engine_file_only(name: str) -> None:
    path = modules()[name]
    vendors = set(imported_packages(path)) & VENDORS
    allowed = {"tensorrt": {"tensorrt", "tensorrt_rtx", "cuda"}, "engines": {path.stem}}
    assert vendors <= allowed.get(path.parent.name, set())


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles(import_graph()) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
