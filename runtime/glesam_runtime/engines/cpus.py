"""CPUs that this process may use: its affinity (taskset, cpuset) and its cgroup's quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BackendError
from .host import text_of

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
MOST_THREADS = 1024


def checked_threads(threads: object) -> int:
    """Returns `threads`, 0 for the default. Raises BackendError for anything but 0 to 1024."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS:
        raise BackendError(
            f"threads: expected a whole number from 1 to {MOST_THREADS}, or 0 for one on each core that this "
            f"process may use, found {threads!r}"
        )
    return threads


def usable_cores() -> int:
    """Returns the number of physical cores that this process may use, at most its cgroup's quota."""
    cores = {text_of(Path(TOPOLOGY.format(cpu))) or cpu for cpu in _affinity()}
    quota = cpu_quota()
    return max(1, len(cores) if quota is None else min(len(cores), math.ceil(quota)))


def is_limited() -> bool:
    """Returns whether a cgroup's quota gives this process less than its CPUs could."""
    quota = cpu_quota()
    return quota is not None and quota < len(_affinity())


def cpu_quota() -> float | None:
    """Returns the CPUs' time that the cgroups of this process allow [CPUs]; None where nothing limits it."""
    limits = [limit for folder in _cgroup_folders() if (limit := _quota(folder)) is not None]
    return min(limits, default=None)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cgroup_folders() -> Iterator[Path]:
    """Yields the folders that may hold a limit: of this process's group, and of each group around it."""
    for line in (text_of(CGROUP) or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or "cpu" in controllers.split(","):
            root = CGROUPS if number == "0" else CGROUPS / controllers
            group = root / path.lstrip("/")
            yield from (group, *(parent for parent in group.parents if parent.is_relative_to(root)))


def _quota(folder: Path) -> float | None:
    """Returns the limit of one group in version 2's form ("200000 100000", "max 100000") or version 1's."""
    both = text_of(folder / "cpu.max")
    if both is None:
        both = f"{text_of(folder / 'cpu.cfs_quota_us')} {text_of(folder / 'cpu.cfs_period_us')}"
    try:
        quota, period = (int(word) for word in both.split())
    except ValueError:  # "max", or no limit here
        return None
    return quota / period if quota > 0 and period > 0 else None
