"""What a user gets from `pip install`: the packages, the models, their terms, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"glesam", "glesam_export", "glesam_calib", "glesam_runtime"}
CHECKPOINT = {
    f"glesam/models/nano/{name}" for name in ("config.json", "model.safetensors", "calibration.json")
}
MOST_MIB = 32
"""Largest wheel of the runtime, which boards download; half of it is the default bundle's graphs."""


def wheel(source: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(ROOT, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(ROOT / "glesam/models", tmp_path_factory.mktemp("nano"))


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def metadata(path: Path) -> Message:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_four_packages_and_nothing_else(base: Path) -> None:
    top = {name.split("/")[0] for name in names(base)}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_every_package_says_that_it_is_typed(base: Path) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= names(base)


def test_the_wheel_brings_the_default_bundle_and_the_photographs_but_no_checkpoint(base: Path) -> None:
    bundle = "glesam_runtime/models/nano"
    assert {f"{bundle}/bundle.json", f"{bundle}/bundle.json.sha256", f"{bundle}/gle.onnx"} <= names(base)
    photos = [
        name for name in names(base) if name.startswith("glesam_calib/photos/") and name.endswith(".jpg")
    ]
    assert len(photos) == 4
    assert not any(name.startswith("glesam/models/") for name in names(base))
    assert base.stat().st_size < MOST_MIB * 2**20


def test_the_wheel_brings_the_page_of_glesam_view_and_its_sample(base: Path) -> None:
    view = "glesam_runtime/view"
    page = {f"{view}/page/{path.name}" for path in (ROOT / "runtime" / view / "page").iterdir()}
    assert len(page) > 10
    assert page | {f"{view}/photos/astronaut_lq3.jpg"} <= names(base)


def test_nanos_wheel_adds_its_checkpoint_where_glesam_export_looks(
    base: Path, nano: Path, tmp_path: Path
) -> None:
    added = {name for name in names(nano) if ".dist-info/" not in name}
    assert added == CHECKPOINT | {"glesam/models/nano/README.md"}
    assert not added & names(base)
    for path in (base, nano):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
    code = "from glesam.model import shipped_checkpoint; print(shipped_checkpoint())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == tmp_path / "glesam/models/nano"


def test_code_and_weights_are_apache_2(base: Path, nano: Path) -> None:
    card = (ROOT / "glesam/models/nano/README.md").read_text()
    assert "\nlicense: apache-2.0\n" in card.split("---")[1]
    for path in (base, nano):
        assert metadata(path)["License-Expression"] == "Apache-2.0"
        with zipfile.ZipFile(path) as archive:
            (text,) = (archive.read(name) for name in archive.namelist() if "/licenses/" in name)
        assert text == (ROOT / "LICENSE").read_bytes()


def test_both_wheels_are_of_one_version(base: Path, nano: Path) -> None:
    assert metadata(base)["Version"] == metadata(nano)["Version"]


def test_no_address_is_given_that_does_not_exist(base: Path) -> None:
    assert metadata(base).get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2503.12507"]
