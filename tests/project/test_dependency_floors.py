"""The dependencies' floors are safe and were tried; `make floors` runs the commands with them."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# Published advisories: the package, and the first version that is not affected. `make audit` asks for news.
ADVISORIES = {
    "CVE-2026-25990": ("pillow", "12.1.1"),
    "CVE-2026-40192": ("pillow", "12.2.0"),
    "CVE-2026-55379": ("pillow", "12.3.0"),
    "PYSEC-2026-2253": ("pillow", "12.3.0"),
    "PYSEC-2026-2254": ("pillow", "12.3.0"),
    "PYSEC-2026-2255": ("pillow", "12.3.0"),
    "PYSEC-2026-2256": ("pillow", "12.3.0"),
    "PYSEC-2026-2257": ("pillow", "12.3.0"),
    "CVE-2025-32434": ("torch", "2.6.0"),
    "GHSA-63cw-57p8-fm3p": ("torch", "2.10.0"),
    "CVE-2022-25882": ("onnx", "1.13.0"),
    "CVE-2024-27318": ("onnx", "1.16.0"),
    "CVE-2024-27319": ("onnx", "1.16.0"),
    "CVE-2026-27489": ("onnx", "1.21.0"),
    "CVE-2026-28500": ("onnx", "1.21.0"),
    "CVE-2026-34445": ("onnx", "1.21.0"),
    "CVE-2025-54121": ("starlette", "0.47.2"),
    "CVE-2025-62727": ("starlette", "0.49.1"),
    "GHSA-qr4w-53vh-m672": ("opencv-python-headless", "4.8.1.78"),  # CVE-2023-4863 of libwebp
}
# Versions with known holes, or known not to work.
REFUSED = {
    "pillow": ["10.1.0", "11.3.0"],
    "torch": ["2.6.0", "2.9.1"],
    "onnx": ["1.17.0", "1.21.0"],
    "onnxruntime": ["1.17.0", "1.22.1", "1.29.0"],
    "opencv-python-headless": ["4.8.0.76"],
    "openvino": ["2024.4.0", "2024.6.0"],
    "typer": ["0.15.1"],
}
ACCEPTED = {
    "onnxruntime": ["1.30.0", "1.32.0"],
    "pillow": ["13.0.0"],
    "torch": ["2.13.0+cpu"],
    "typer": ["0.16.0"],
}


def requirements(name: str, python: str) -> list[Requirement]:
    """The requirements on a package that hold on a version of Python, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    found = [each for text in texts if (each := Requirement(text)).name == name]
    return [x for x in found if x.marker is None or x.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("python", PYTHONS)
def test_versions_with_holes_are_not_installed(python: str) -> None:
    for name, versions in REFUSED.items():
        limits = requirements(name, python)
        assert limits, name
        for version in versions:
            assert not all(limit.specifier.contains(version) for limit in limits), (name, version)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_floors_have_every_published_fix(python: str) -> None:
    for advisory, (name, fixed) in ADVISORIES.items():
        limits = [each for limit in requirements(name, python) for each in limit.specifier]
        floors = [Version(each.version) for each in limits if each.operator in (">=", "==")]
        assert floors and max(floors) >= Version(fixed), (advisory, name, fixed)


@pytest.mark.parametrize("python", PYTHONS[1:])
def test_versions_that_were_tried_are(python: str) -> None:
    for name, versions in ACCEPTED.items():
        for version in versions:
            assert all(limit.specifier.contains(version) for limit in requirements(name, python))


def test_python_3_10_gets_the_last_that_exist_for_it() -> None:
    for name, version in (("onnxruntime", "1.23.2"), ("pillow", "12.3.0")):
        (limit,) = requirements(name, "3.10")
        assert limit.specifier.contains(version)


def test_what_is_claimed_is_run() -> None:
    assert "make floors" in (ROOT / ".ci/run").read_text()
