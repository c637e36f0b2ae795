"""Nothing phones home: what a run asks of the network, and which files it leaves, watched inside libc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glesam_runtime.engines.telemetry import telemetry_off

SOURCE = Path(__file__).with_name("watch.c")
# Switches that would hide a report: ONNX Runtime and OpenVINO send none from a CI machine.
HIDING = (
    "CI",
    "GITHUB_ACTIONS",
    "TF_BUILD",
    "JENKINS_URL",
    "ORT_DISABLE_TELEMETRY",
    "ORT_RUNNING_UNIT_TESTS",
)
RUN = """
import sys, time
import numpy as np
from glesam_runtime import Predictor
backend, bundle, wait_s = sys.argv[1:]
with Predictor.from_bundle(bundle, backend) as predictor:
    predictor.set_image(np.zeros((96, 128, 3), np.uint8))
    predictor.predict(box=(24, 16, 104, 80))
    time.sleep(float(wait_s))
"""
CONTROL = """
import os, socket
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
try:
    socket.getaddrinfo("control.invalid", 443)
except OSError:
    pass
os.mkdir("folder")
open("file", "w").close()
"""


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library to preload."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "this test compiles watch.c: apt-get install gcc, or run make cpp-deps"
    library = tmp_path_factory.mktemp("watch") / "libwatch.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def watched(watch: Path, folder: Path, code: str, *arguments: object, **variables: str) -> list[str]:
    """What a Python process did: "dns NAME", "socket IPv4", "file PATH" and "folder PATH" lines, in order."""
    home = folder / "home"
    home.mkdir()
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if name not in HIDING}
    for name in [name for name in environment if name.startswith("XDG_")]:
        del environment[name]
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(home),
        "LD_PRELOAD": str(watch),
        "WATCH_LOG": str(log),
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    subprocess.run(command, cwd=home, env=environment, check=True, timeout=120)
    devices = ("file /dev/null", "file /dev/shm/")
    noted = log.read_text().splitlines() if log.exists() else []
    return [line for line in noted if not line.startswith(devices)]


def test_the_watch_sees_names_sockets_files_and_folders(watch: Path, tmp_path: Path) -> None:
    seen = watched(watch, tmp_path, CONTROL)
    assert {line for line in seen if "control" in line or "IPv6" in line or line.startswith("f")} >= {
        "dns control.invalid",
        "socket IPv6",
        "folder folder",
        "file file",
    }


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_run_asks_nobody_and_leaves_nothing(
    watch: Path, bundle_path: Path, tmp_path: Path, backend: str
) -> None:
    assert watched(watch, tmp_path, RUN, backend, bundle_path, 3) == []
    assert list((tmp_path / "home").rglob("*")) == []


def test_a_command_asks_nobody_and_leaves_its_results_only(
    watch: Path, bundle_path: Path, photo: Path, tmp_path: Path
) -> None:
    code = "import sys; from glesam_runtime.cli.run import main; sys.exit(main())"
    out = tmp_path / "home/out"
    seen = watched(
        watch, tmp_path, code, photo, "--bundle", bundle_path, "--box", 24, 16, 104, 80, "--out", out
    )
    assert [line for line in seen if not line.startswith((f"file {out}/", f"folder {out}"))] == []
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == [
        "out",
        "photo.mask0.png",
        "photo.overlay.jpg",
    ]


@pytest.mark.parametrize(("wanted", "expected"), [("", "1"), ("0", "1"), ("1", None)])
def test_a_user_can_want_the_libraries_reports(
    monkeypatch: pytest.MonkeyPatch, wanted: str, expected: str | None
) -> None:
    monkeypatch.setenv("GLESAM_TELEMETRY", wanted)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "")  # restored after the test
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with telemetry_off():
        assert os.environ.get("ORT_DISABLE_TELEMETRY") == expected
        assert ("openvino_telemetry" in sys.modules) == (expected is not None)
    assert "openvino_telemetry" not in sys.modules


def test_openvinos_reporter_can_be_imported_by_its_user_afterwards() -> None:
    code = (
        "import glesam_runtime.engines.openvino, sys\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import openvino_telemetry, openvino.tools.ovc"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
