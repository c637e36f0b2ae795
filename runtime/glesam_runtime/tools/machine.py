"""Describes this machine, without which a measured speed means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..engines import host
from ..engines.host import installed, proc_field, text_of

LIBRARIES = (
    "glesam",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
)
"""Names for pip of the packages that a measurement depends on."""
_GPU_FIELDS = "name,driver_version,memory.total,enforced.power.limit"
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi describes it; unknown fields are None. Memory in MiB, power in W."""

    name: str
    driver: str | None
    memory_mib: float | None
    power_limit_w: float | None


@dataclass(frozen=True)
class Machine:
    """A machine; unknown fields are None.

    cores: number of cores that this process may use. power_mode: nvpmodel's, on a Jetson.
    """

    system: str
    python: str
    cpu: str
    cores: int
    cpu_governor: str | None
    memory_bytes: int | None
    board: str | None
    power_mode: str | None
    gpus: tuple[Gpu, ...]
    libraries: dict[str, str]


@dataclass(frozen=True)
class HostMemory:
    """Resident memory of this process [bytes], now and at its peak; None where it is unknown.

    It counts Python, the libraries, and the pages of mapped files, such as weights, that are in memory; not
    a device's memory, nor other processes.
    """

    now: int | None
    peak: int | None


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the GPUs that this process holds [bytes], or None and the reason why it is unknown."""

    held: int | None
    reason: str


def this_machine() -> Machine:
    """Returns this machine, from /proc, /sys and, if present, nvidia-smi and nvpmodel."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpu=proc_field(host.CPUINFO, "model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        cpu_governor=text_of(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        memory_bytes=_kib(Path("/proc/meminfo"), "MemTotal"),
        board=text_of(Path("/proc/device-tree/model")),
        power_mode=_power_mode(_output_of("nvpmodel", "-q")),
        gpus=_gpus(_output_of("nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits")),
        libraries=installed(LIBRARIES),
    )


def host_memory() -> HostMemory:
    """Returns this process's memory, from /proc: getrusage's peak may be that of the parent process."""
    status = Path("/proc/self/status")
    return HostMemory(_kib(status, "VmRSS"), _kib(status, "VmHWM"))


def device_memory() -> DeviceMemory:
    """Returns the memory of this process on all GPUs, as nvidia-smi counts it."""
    answer = _output_of("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    if answer is None:
        return DeviceMemory(None, "there is no nvidia-smi to ask, or it failed")
    rows = [[word.strip() for word in line.split(",")] for line in answer.splitlines()]
    own = [_number(row[1]) for row in rows if len(row) == 2 and row[0] == str(os.getpid())]
    known = [mib for mib in own if mib is not None]
    if not own:
        return DeviceMemory(None, "nvidia-smi lists no memory of this process: no GPU used, or a container")
    if len(known) < len(own):
        return DeviceMemory(None, "nvidia-smi does not know the memory of a process on this GPU")
    return DeviceMemory(int(sum(known) * 2**20), "as nvidia-smi counts it")


def _gpus(answer: str | None) -> tuple[Gpu, ...]:
    rows = [[word.strip() for word in line.split(",")] for line in (answer or "").splitlines()]
    return tuple(
        Gpu(row[0], row[1] if row[1][:1].isdigit() else None, _number(row[2]), _number(row[3]))
        for row in rows
        if len(row) == 4
    )


def _power_mode(answer: str | None) -> str | None:
    """Returns MAXN of "NV Power Mode: MAXN"; the mode's number follows on another line."""
    for line in (answer or "").splitlines():
        name, colon, mode = line.partition(":")
        if colon and name.strip().lower().endswith("power mode"):
            return mode.strip() or None
    return None


def _output_of(*command: str) -> str | None:
    """Returns the output of a command; None where it is absent, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _kib(path: Path, name: str) -> int | None:
    """Returns a field of KiB in a file of /proc, in bytes."""
    words = (proc_field(path, name) or "").split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None


def _number(word: str) -> float | None:
    """Returns the number, or None for "[N/A]" and "[Not Supported]"."""
    try:
        return float(word)
    except ValueError:
        return None
