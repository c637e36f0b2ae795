"""Who may import whom, read from the source: a broken rule fails here before it can hide in a lazy import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "glesam": ROOT / "glesam",
    "glesam_export": ROOT / "export/glesam_export",
    "glesam_calib": ROOT / "calib/glesam_calib",
    "glesam_runtime": ROOT / "runtime/glesam_runtime",
}
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
VENDORS = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda"}


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def sources() -> list[tuple[str, Path]]:
    found = [(name, path) for name, folder in PACKAGES.items() for path in sorted(folder.rglob("*.py"))]
    assert {name for name, _ in found} == set(PACKAGES)
    return found


@pytest.mark.parametrize(("package", "path"), sources(), ids=lambda x: getattr(x, "stem", x))
def test_a_module_imports_only_what_its_package_may(package: str, path: Path) -> None:
    imported = set(imported_packages(path))
    ours = imported & set(PACKAGES)
    assert ours <= MAY_IMPORT[package]
    assert not imported & FORBIDDEN.get(package, set())


@pytest.mark.parametrize(("package", "path"), sources(), ids=lambda x: getattr(x, "stem", x))
def test_a_vendor_library_is_imported_in_its_engine_file_only(package: str, path: Path) -> None:
    vendors = set(imported_packages(path)) & VENDORS
    allowed = {"tensorrt": {"tensorrt", "tensorrt_rtx", "cuda"}, "engines": {path.stem}}
    assert vendors <= allowed.get(path.parent.name, set())
