"""What a record says about the machine that a benchmark ran on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glesam_runtime.engines.host import CPUINFO, proc_field
from glesam_runtime.tools.machine import this_machine

FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "NEON I8MM",
    "sve": "SVE",
}
"""Instructions that matter to a neural network, as /proc/cpuinfo names them, the oldest first."""


@dataclass(frozen=True)
class MachineHeader:
    """The machine of a record. What nobody knows is None."""

    name: str
    """Short, for tables and file names: the CPU, its cores and its newest instructions."""
    cpu: str | None
    features: list[str]
    cores: int | None
    memory_gib: float | None
    system: str | None
    gpus: list[str]


def machine_header() -> MachineHeader:
    """Returns the header of this machine."""
    machine = this_machine()
    features = cpu_features()
    return MachineHeader(
        name=f"{machine.cpu}, {machine.cores} cores" + (f" ({features[-1]})" if features else ""),
        cpu=machine.cpu,
        features=features,
        cores=machine.cores,
        memory_gib=round(machine.memory_bytes / 2**30, 1) if machine.memory_bytes else None,
        system=without_patch_level(machine.system),
        gpus=[gpu.name for gpu in machine.gpus],
    )


def without_patch_level(system: str) -> str:
    """Returns "Linux 6.12 x86_64" for "Linux 6.12.48-arch1 x86_64"."""
    return re.sub(r"(\d+\.\d+)\S*", r"\1", system, count=1)


def cpu_features() -> list[str]:
    """Returns the instructions of `FEATURES` that this CPU has, the newest last."""
    flags = (proc_field(CPUINFO, "flags") or proc_field(CPUINFO, "Features") or "").split()
    return list(dict.fromkeys(name for flag, name in FEATURES.items() if flag in flags))
