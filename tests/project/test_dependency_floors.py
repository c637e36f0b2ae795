"""The dependencies' floors are safe and were tried; `make floors` runs the commands with them."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
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
