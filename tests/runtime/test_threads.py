"""Threads of an engine: how many, on which CPUs, and what close() does while they compute."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from glesam_runtime import BackendError, Predictor
from glesam_runtime.engines import cpus
from glesam_runtime.engines.calls import Shared
from glesam_runtime.engines.cpus import cpu_quota, usable_cores
from glesam_runtime.engines.onnxruntime import _session_options
from glesam_runtime.engines.openvino import cpu_threads

BOX = (24, 16, 104, 80)
PINNED = """
import glob, os, sys
os.sched_setaffinity(0, {int(sys.argv[3])})
import numpy as np
from glesam_runtime import Predictor
with Predictor.from_bundle(sys.argv[1], sys.argv[2]) as predictor:
    predictor.set_image(np.zeros((96, 128, 3), np.uint8))
    predictor.predict(box=(24, 16, 104, 80))
    for path in glob.glob("/proc/self/task/*/status"):
        print(open(path).read().split("Cpus_allowed_list:")[1].split()[0])
"""
CLOSED_EARLY = """
import sys, threading, time
import numpy as np
from glesam_runtime import BackendError, Predictor
bundle, backend, wait_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
predictor = Predictor.from_bundle(bundle, backend)
other = Predictor.from_bundle(bundle, backend)
ends = []
def work():
    session = predictor.new_session()
    try:
        while True:
            session.set_image(np.zeros((96, 128, 3), np.uint8))
            session.predict(box=(24, 16, 104, 80))
    except BackendError as error:
        ends.append("is closed" in str(error))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(wait_s)
predictor.close()
predictor.close()
for thread in threads:
    thread.join()
assert ends == [True] * 4, ends
other.set_image(np.zeros((96, 128, 3), np.uint8))
"""
DOCUMENTED_USE = """
import os, sys, threading, time
import numpy as np
from native import LIBRARY, NativePredictor
from glesam_runtime import Predictor
image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
def work(session):
    for _ in range(20):
        session.set_image(image)
        session.predict(box=(24, 16, 104, 80))
def opened():
    return Predictor.from_bundle(sys.argv[1], "openvino")
with opened() as predictor, opened() as other:
    several = [predictor, other]
    if LIBRARY.exists():
        several.append(NativePredictor.from_bundle(sys.argv[1], "openvino"))
    sessions = [*several, *(each.new_session() for each in several for _ in range(2))]
    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
# The C++ library's graphs are freed at exit: a thread of C++ is gone after join(), one of Python is not.
while any(os.path.exists(f"/proc/self/task/{thread.native_id}") for thread in threads):
    time.sleep(0.001)
"""
RUNS = int(os.environ.get("GLESAM_STRESS_RUNS", "2"))
"""Processes of the stress test. measurements/backends has what 60 did."""


def test_a_session_per_thread_beside_other_predictors_never_crashes(bundle_path: Path) -> None:
    """It did in 5 of 60 processes: graphs were freed while the system still ended threads."""
    command = [sys.executable, "-c", DOCUMENTED_USE, str(bundle_path)]
    folders = [str(Path(__file__).parent), *sys.path]
    for run in range(RUNS):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        )
        assert done.returncode == 0, f"run {run + 1} of {RUNS}: {done.returncode} {done.stderr}"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_all_threads_stay_on_the_cpus_of_the_process(bundle_path: Path, backend: str) -> None:
    (cpu, *_) = sorted(os.sched_getaffinity(0), reverse=True)
    done = subprocess.run(
        [sys.executable, "-c", PINNED, str(bundle_path), backend, str(cpu)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {str(cpu)}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_close_waits_for_running_calls(bundle_path: Path, backend: str) -> None:
    """It killed the process: a crash would be a negative exit status."""
    for wait_s in (0.05, 0.2, 0.4):
        command = [sys.executable, "-c", CLOSED_EARLY, str(bundle_path), backend, str(wait_s)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_a_shared_resource_is_closed_after_its_last_use() -> None:
    events: list[str] = []

    class Resource:
        def __del__(self) -> None:
            events.append(f"freed by {threading.current_thread().name}")

    shared = Shared(Resource())
    inside, leave = threading.Event(), threading.Event()

    def use() -> None:
        with shared.used() as resource:
            assert resource is not None
            inside.set()
            leave.wait()
            events.append("used")
            del resource

    user = threading.Thread(target=use)
    closer = threading.Thread(target=shared.close, name="closer")
    user.start()
    inside.wait()
    closer.start()
    time.sleep(0.05)
    assert events == []
    with shared.used() as refused:
        assert refused is None
    leave.set()
    user.join()
    closer.join()
    assert events == ["used", "freed by closer"]
    shared.close()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc": "0::/a/b", "a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ({"proc": "0::/a/b", "a/b/cpu.max": "50000 100000", "a/cpu.max": "150000 100000"}, 0.5),
        ({"proc": "0::/", "cpu.max": "200000 100000"}, 2),
        ({"proc": "0::/", "cpu.max": "max 100000"}, None),
        ({"proc": "0::/"}, None),
        ({"proc": "0::/", "cpu.max": "nonsense"}, None),
        ({}, None),
        (
            {
                "proc": "9:name=systemd:/\n1:cpu,cpuacct:/a",
                "cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            3,
        ),
    ],
)
def test_a_cgroups_quota_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(cpus, "CGROUP", tmp_path / "proc")
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    assert cpu_quota() == expected


@pytest.mark.parametrize(
    ("affinity", "siblings", "quota", "expected"),
    [
        ({0, 1, 2, 3}, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, None, 2),
        ({1, 2}, {1: "0-1", 2: "2-3"}, None, 2),
        ({0, 1, 2, 3}, {}, None, 4),
        ({0, 1, 2, 3}, {}, 1.5, 2),
        ({0, 1, 2, 3}, {}, 0.1, 1),
        ({0}, {}, 8.0, 1),
    ],
)
def test_cores_are_counted_within_affinity_and_quota(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    affinity: set[int],
    siblings: dict[int, str],
    quota: float | None,
    expected: int,
) -> None:
    for cpu, text in siblings.items():
        (tmp_path / str(cpu)).write_text(text)
    monkeypatch.setattr(cpus, "TOPOLOGY", str(tmp_path) + "/{}")
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity)
    assert usable_cores() == expected
    assert _session_options(0, False).intra_op_num_threads == expected
    limited = {"INFERENCE_NUM_THREADS": str(expected)} if quota is not None and quota < len(affinity) else {}
    assert cpu_threads("CPU", 0) == limited


def test_a_caller_sets_the_number_of_threads(bundle_path: Path) -> None:
    assert _session_options(3, False).intra_op_num_threads == 3
    assert cpu_threads("CPU", 3) == {"INFERENCE_NUM_THREADS": "3"}
    assert cpu_threads("GPU", 3) == {}
    for backend in ("onnxruntime", "openvino"):
        with Predictor.from_bundle(bundle_path, backend, threads=2) as predictor:
            predictor.set_image(np.zeros((96, 128, 3), np.uint8))
            assert predictor.predict(box=BOX).masks.shape == (1, 96, 128)


@pytest.mark.parametrize("threads", [-1, 1025, 10**12, 1.0, True, "2", None])
def test_any_other_number_of_threads_is_refused(bundle_path: Path, threads: object) -> None:
    with pytest.raises(BackendError, match=r"threads: expected a whole number from 1 to 1024, or 0 for one"):
        Predictor.from_bundle(bundle_path, threads=threads)  # type: ignore[arg-type]
