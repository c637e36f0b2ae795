"""The description of a machine, with commands that answer as nvidia-smi and nvpmodel do."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glesam_runtime.tools import machine
from glesam_runtime.tools.machine import Gpu, device_memory, host_memory, this_machine

Say = Callable[[str, str], None]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Returns a function that makes a command; there are no others on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def test_without_any_command_the_machine_has_no_gpu_and_no_power_mode(say: Say) -> None:
    machine = this_machine()
    assert (machine.gpus, machine.power_mode) == ((), None)
    assert machine.cores >= 1 and machine.cpu and machine.libraries["numpy"]
    held = device_memory()
    assert held.held is None and "no nvidia-smi" in held.reason


def test_a_gpu_is_what_nvidia_smi_says_and_what_it_does_not_know_is_none(say: Say) -> None:
    say(
        "nvidia-smi",
        'echo "NVIDIA RTX A2000, 550.54.14, 6138, 70.00"; echo "Orin (nvgpu), N/A, [N/A], [N/A]"',
    )
    assert this_machine().gpus == (
        Gpu("NVIDIA RTX A2000", "550.54.14", 6138.0, 70.0),
        Gpu("Orin (nvgpu)", None, None, None),
    )


@pytest.mark.parametrize("script", ["echo NVML: Driver/library version mismatch; exit 18", "printf '\\377'"])
def test_an_nvidia_smi_that_fails_or_talks_nonsense_is_no_gpu(say: Say, script: str) -> None:
    say("nvidia-smi", script)
    assert this_machine().gpus == ()
    assert device_memory().held is None


def test_a_command_that_hangs_is_abandoned(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TIMEOUT_S", 0.1)
    say("nvpmodel", "while :; do :; done")
    assert this_machine().power_mode is None


def test_the_power_mode_is_nvpmodels(say: Say) -> None:
    say("nvpmodel", "echo 'NVPM WARN: fan mode is not set!'; echo 'NV Power Mode: MODE_30W'; echo 2")
    assert this_machine().power_mode == "MODE_30W"


def test_device_memory_is_this_processes_on_all_gpus(say: Say) -> None:
    say("nvidia-smi", f'echo "1, 9000"; echo "{os.getpid()}, 512"; echo "{os.getpid()}, 256"')
    assert device_memory().held == 768 * 2**20


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("1, 9000", "lists no memory of this process"), ("{pid}, [N/A]", "does not know")],
)
def test_unknown_device_memory_has_a_reason(say: Say, answer: str, reason: str) -> None:
    say("nvidia-smi", f"echo '{answer.format(pid=os.getpid())}'")
    held = device_memory()
    assert held.held is None and reason in held.reason


def test_the_peak_of_host_memory_only_grows() -> None:
    before = host_memory()
    assert before.now and before.peak and before.peak >= before.now > 2**20
    size = before.peak - before.now + 2**25
    with mmap.mmap(-1, size) as block:  # the heap may answer with memory that it already holds
        block.write(bytes(size))
        after = host_memory()
    assert after.peak and after.peak >= before.peak + 2**24
