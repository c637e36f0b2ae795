"""Facts about this machine that engines depend on: the processor's int8 arithmetic, installed packages."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_X86, _ARM = ("x86_64", "amd64"), ("aarch64", "arm64")


def sums_int8_exactly() -> bool:
    """Returns whether this processor sums int8 products without loss: on x86 only with VNNI.

    Without VNNI (avx_vnni, avx512_vnni) x86 adds products of bytes in 16 bits, where they saturate: nano's
    int8 encoder was 8 % off in OpenVINO on an AVX2 machine, and .9 % with exact sums (docs/int8.md).
    Other processors are assumed to sum exactly; this was never tried on Arm.
    """
    return platform.machine().lower() not in _X86 or "vnni" in (proc_field(CPUINFO, "flags") or "")


def is_arm() -> bool:
    """Returns whether this processor is a 64-bit Arm."""
    return platform.machine().lower() in _ARM


def installed(names: tuple[str, ...]) -> dict[str, str]:
    """Returns the versions of those of the packages `names` that are installed, by their names for pip."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def proc_field(path: Path, name: str) -> str | None:
    """Returns the first value of `name` in a file of "name: value" lines, as in /proc."""
    for line in (text_of(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def text_of(path: Path) -> str | None:
    """Returns the text of a file without surrounding blanks and NULs; None where there is none."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None
