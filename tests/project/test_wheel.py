"""What a user gets from `pip install`: the packages, the models, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"glesam", "glesam_export", "glesam_calib", "glesam_runtime"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel_names: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_every_package_says_that_it_is_typed(wheel_names: set[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= wheel_names


def test_the_wheel_brings_the_default_bundle_the_checkpoint_and_the_photographs(
    wheel_names: set[str],
) -> None:
    bundle = "glesam_runtime/models/nano"
    assert {f"{bundle}/bundle.json", f"{bundle}/bundle.json.sha256", f"{bundle}/gle.onnx"} <= wheel_names
    assert {
        "glesam/models/nano/config.json",
        "glesam/models/nano/model.safetensors",
        "glesam/models/nano/calibration.json",
    } <= wheel_names
    assert sum(name.startswith("glesam_calib/photos/") and name.endswith(".jpg") for name in wheel_names) == 4


def test_the_wheel_brings_the_page_of_glesam_view_and_its_sample(wheel_names: set[str]) -> None:
    view = "glesam_runtime/view"
    page = {f"{view}/page/{path.name}" for path in (ROOT / "runtime" / view / "page").iterdir()}
    assert len(page) > 10
    assert page | {f"{view}/photos/astronaut_lq3.jpg"} <= wheel_names
